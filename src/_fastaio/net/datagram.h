/* datagram.h: the native half of the transport of UDP and Unix datagrams. */
#ifndef FASTAIO_DATAGRAM_H
#define FASTAIO_DATAGRAM_H

#include "loop/loop.h"

/* Add the type DatagramCore. Return 0, or -1 with an exception. */
int datagram_types_init(PyObject *module);

#endif
