/* datagram_send.h: sending datagrams. */
#ifndef FASTAIO_DATAGRAM_SEND_H
#define FASTAIO_DATAGRAM_SEND_H

#include "net/datagram_object.h"

/* transport.sendto(data, address). Return None, or NULL with an exception. */
PyObject *datagram_send(PyObject *op, PyObject *data, PyObject *address);

#endif
