/* stream_write.h: the methods that fill the queue, from write() to the limits of flow control. */
#ifndef FASTAIO_STREAM_WRITE_H
#define FASTAIO_STREAM_WRITE_H

#include "net/stream_object.h"

/* transport.write(data). Return None, or NULL with an exception. */
PyObject *stream_write(PyObject *op, PyObject *data);

/* The methods that stream.c adds to the type. */
extern PyMethodDef stream_write_methods[];

#endif
