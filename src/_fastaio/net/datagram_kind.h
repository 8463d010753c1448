/* datagram_kind.h: what kind of socket a datagram transport has. */
#ifndef FASTAIO_DATAGRAM_KIND_H
#define FASTAIO_DATAGRAM_KIND_H

#include "net/datagram_object.h"

/* Inspect the socket if it, or its type, has changed. Return 1 if the native methods can serve it,
   0 if asyncio's are to, -1 with an exception. */
int datagram_check_plain(DatagramObject *self, fastaio_state *st);
/* Return whether the user has detached or closed the socket. */
bool datagram_is_detached(const DatagramObject *self, fastaio_state *st);
/* Return the descriptor of a socket that is exactly socket.socket: -1 if the user has detached or closed
   it, and for any other object. */
int datagram_fd(const DatagramObject *self, fastaio_state *st);
/* Call protocol.error_received() with the OSError of errno. Return 0, or -1 with an exception. */
int datagram_report_errno(DatagramObject *self, fastaio_state *st);

#endif
