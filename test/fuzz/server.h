/*
 * server.h
 *	  What the harnesses that need a little of the server have in its place.
 */
#ifndef FUZZ_SERVER_H
#define FUZZ_SERVER_H

extern void require(bool held);
extern char *exact_string(const uint8_t *data, size_t size);
extern text *exact_text(const char *string, size_t length);
extern bool raises(void (*call)(void *), void *argument);
extern void free_all(void);

#endif /* FUZZ_SERVER_H */
