/* sockops.h: the loop's methods sock_recv(), sock_sendall() and their kin. */
#ifndef FASTAIO_SOCKOPS_H
#define FASTAIO_SOCKOPS_H

#include "loop/loop.h"

/* Add the type SockOp, and these methods to the type Loop: sock_recv, sock_recv_into,
   sock_recvfrom, sock_recvfrom_into, sock_sendall, sock_sendto, sock_connect, sock_accept. Return
   0, or -1 with an exception. */
int sockops_types_init(PyObject *module);

#endif
