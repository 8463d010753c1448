/* datagram.h: the native half of the transport of UDP and Unix datagrams. */
#ifndef FASTAIO_DATAGRAM_H
#define FASTAIO_DATAGRAM_H

#include "loop/loop.h"

int datagram_types_init(PyObject *module);

#endif
