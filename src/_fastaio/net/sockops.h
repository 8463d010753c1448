/* sockops.h: loop.sock_recv and its kin: awaitables that try the system call first. */
#ifndef FASTAIO_SOCKOPS_H
#define FASTAIO_SOCKOPS_H

#include "loop/loop.h"

/* Add to the Loop type: sock_recv, sock_recv_into, sock_recvfrom, sock_recvfrom_into, sock_sendall,
   sock_sendto, sock_connect (addresses that need no look-up), sock_accept. */
int sockops_types_init(PyObject *module);

#endif
