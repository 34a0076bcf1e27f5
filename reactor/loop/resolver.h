/*
 * resolver: the addresses of a name, looked up off the loop (offload.h), one name at a time.
 *
 * The text is one of the forms of address.h, HOST:PORT above all. Whatever getaddrinfo(3) asks, the
 * hosts file, name servers, a directory service, is asked by a child of this process, as its user,
 * so that these must be open to it, in a sandbox too. Text without a name needs no child. The
 * addresses are in the order in which they should be tried (RFC 6724), none twice.
 *
 * Nothing is remembered: how long an answer may be used, and when to ask again, the owner decides.
 */
#ifndef REACTOR_LOOP_RESOLVER_H
#define REACTOR_LOOP_RESOLVER_H

#include "reactor/base/address.h"
#include "reactor/loop/offload.h"

#define RESOLVER_ADDRESSES_MAX 8 /* more are left out */

struct resolver {
	struct offload offload;
	struct source at_once; /* for text that needs no child */
	char text[ADDRESS_TEXT_BYTES];
	void (*ended)(struct resolver *resolver, const struct address *list, size_t n,
		      const char *why);
};

/* Call it once for each; what offload_init() says is true of it. */
void resolver_init(struct resolver *resolver, struct loop *loop);
/*
 * Calls ended() once, in a later pass of the loop, with n addresses, or with n 0 and why: there is
 * no such name, nobody could be asked, or it was not done in ms. The list is there until ended()
 * returns, which may not begin another one. 0, or -errno: -EBUSY if it has not ended, or the child
 * before has not been reaped (it takes a moment after resolver_cancel() and after a deadline);
 * -ENAMETOOLONG. The text is copied.
 */
int resolver_begin(struct resolver *resolver, const char *text, uint32_t ms,
		   void (*ended)(struct resolver *resolver, const struct address *list, size_t n,
				 const char *why));
bool resolver_is_busy(const struct resolver *resolver);
/* Nobody waits for it any more; ended() is not called. Not to be freed before the loop's next pass.
 */
void resolver_cancel(struct resolver *resolver);

#endif
