/* datagram_read.h: receiving datagrams. */
#ifndef FASTAIO_DATAGRAM_READ_H
#define FASTAIO_DATAGRAM_READ_H

#include "net/datagram_object.h"

/* transport._read_ready(): deliver what is received already, else receive. Return None, or NULL with an
   exception. */
PyObject *datagram_read_ready(PyObject *op, PyObject *ignored);
/* transport.resume_reading(): asyncio's; datagrams that are received already come in the next turn. */
PyObject *datagram_resume_reading(PyObject *op, PyObject *ignored);
/* Drop the datagrams that are not delivered. Runs no Python code. */
void datagram_drop_batch(DatagramObject *self);

#endif
