/* sockobj.h: who holds a socket object open.
 *
 * As socket.makefile() does it: close() waits for the last one who holds, so a
 * descriptor's number is not reused while somebody works with it.
 */
#ifndef FASTAIO_SOCKOBJ_H
#define FASTAIO_SOCKOBJ_H

#include "base/state.h"

/* 1, 0 where sock is nothing like a socket.socket and has no such count, or -1. */
int sockobj_hold(fastaio_state *st, PyObject *sock);
/* The end of it: the socket closes now if its user has closed it meanwhile. -1 with an exception. */
int sockobj_release(fastaio_state *st, PyObject *sock);

#endif
