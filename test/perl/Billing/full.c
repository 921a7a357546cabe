/*
 * full.c
 *	  Preloaded into a server, makes its disk full: what would make a file longer
 *	  fails with ENOSPC, as the disk would have it, and what changes a file within
 *	  its length succeeds.
 *
 * The directory BILLING_FULL says which files: there is a file of the same name
 * (16389, the table or index), or one of the directory's (base, pg_wal).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define NEXT(function) ((__typeof__(&function)) dlsym(RTLD_NEXT, #function))

/* A name under the data directory, where every process of a server is; NULL: another file. */
static const char *
name_of(int file, char *path)
{
	char link[64];
	char directory[PATH_MAX];
	ssize_t length;
	size_t prefix;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", file);
	length = readlink(link, path, PATH_MAX - 1);
	if (length <= 0 || getcwd(directory, sizeof(directory)) == NULL)
		return NULL;
	path[length] = '\0';
	prefix = strlen(directory);
	if (strncmp(path, directory, prefix) != 0 || path[prefix] != '/')
		return NULL;
	return path + prefix + 1;
}

static bool
is_switched(const char *name, size_t length)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%.*s", getenv("BILLING_FULL"), (int) length, name);
	return access(path, F_OK) == 0;
}

/* Whether it cannot become that long. A file's branches and segments go with it (16389_fsm, 16389.1). */
static bool
is_full(int file, off_t end)
{
	char path[PATH_MAX];
	const char *name;
	const char *base;
	struct stat now;
	int error = errno;
	bool full = false;

	if (getenv("BILLING_FULL") != NULL && fstat(file, &now) == 0 && S_ISREG(now.st_mode) &&
		end > now.st_size && (name = name_of(file, path)) != NULL)
	{
		base = strrchr(name, '/') == NULL ? name : strrchr(name, '/') + 1;
		full = is_switched(name, strcspn(name, "/")) || is_switched(base, strcspn(base, "_."));
	}
	errno = full ? ENOSPC : error;
	return full;
}

static off_t
length_of(const struct iovec *parts, int count)
{
	off_t length = 0;

	for (int i = 0; i < count; i++)
		length += (off_t) parts[i].iov_len;
	return length;
}

ssize_t
write(int file, const void *data, size_t length)
{
	off_t at = lseek(file, 0, SEEK_CUR);

	if (at >= 0 && is_full(file, at + (off_t) length))
		return -1;
	return NEXT(write)(file, data, length);
}

ssize_t
pwrite(int file, const void *data, size_t length, off_t at)
{
	return is_full(file, at + (off_t) length) ? -1 : NEXT(pwrite)(file, data, length, at);
}

ssize_t
pwritev(int file, const struct iovec *parts, int count, off_t at)
{
	return is_full(file, at + length_of(parts, count)) ? -1 : NEXT(pwritev)(file, parts, count, at);
}

int
posix_fallocate(int file, off_t at, off_t length)
{
	return is_full(file, at + length) ? ENOSPC : NEXT(posix_fallocate)(file, at, length);
}
