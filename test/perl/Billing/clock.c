/*
 * clock.c
 *	  Preloaded into a server, sets the clock its processes see: an offset in
 *	  seconds, the first eight bytes of the file BILLING_CLOCK.
 *
 * libfaketime wraps select() too, within which PostgreSQL 15's postmaster forks
 * its children, by a signal handler: background workers then see the real time.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *offset;

__attribute__((constructor)) static void
map_offset(void)
{
	const char *name = getenv("BILLING_CLOCK");
	int file = name == NULL ? -1 : open(name, O_RDONLY);
	void *map = file < 0 ? MAP_FAILED
						 : mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);

	if (map != MAP_FAILED)
		offset = map;
	if (file >= 0)
		close(file);
}

int
clock_gettime(clockid_t clock, struct timespec *time)
{
	int result = (int) syscall(SYS_clock_gettime, clock, time);

	if (result == 0 && clock == CLOCK_REALTIME && offset != NULL)
		time->tv_sec += *offset;
	return result;
}

int
gettimeofday(struct timeval *restrict time, void *restrict zone)
{
	struct timespec now;

	(void) zone;
	clock_gettime(CLOCK_REALTIME, &now);
	time->tv_sec = now.tv_sec;
	time->tv_usec = now.tv_nsec / 1000;
	return 0;
}

time_t
time(time_t *result)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (result != NULL)
		*result = now.tv_sec;
	return now.tv_sec;
}
