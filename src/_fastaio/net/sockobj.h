/* sockobj.h: leases on the descriptor of a socket object.
 *
 * A lease counts in sock._io_refs, like a file of socket.makefile(): close() takes effect when the
 * last lease ends. So the number of the descriptor is not reused while a lease lasts.
 */
#ifndef FASTAIO_SOCKOBJ_H
#define FASTAIO_SOCKOBJ_H

#include "base/state.h"

/* Take a lease. Return 1; 0 without a lease if `sock` is not a socket.socket; -1 with an
   exception. */
int sockobj_lease(fastaio_state *st, PyObject *sock);
/* End a lease. Close the socket if it was the last one and the user has called close() meanwhile.
   Return 0, or -1 with an exception. */
int sockobj_end_lease(fastaio_state *st, PyObject *sock);

#endif
