/* streamreader_op.h: the coroutine of a read. */
#ifndef FASTAIO_STREAMREADER_OP_H
#define FASTAIO_STREAMREADER_OP_H

#include "reader/streamreader_core.h"

typedef enum { READ_SOME, READ_EXACTLY, READ_UNTIL, READ_LINE, READ_NEXT } ReadKind;

/* Return the coroutine of one read of a native reader; NULL with an exception. `size` counts for
   READ_SOME and READ_EXACTLY, `separator`, bytes or NULL for a newline, for the others. */
PyObject *read_op_new(ReaderCore *core, PyObject *reader, ReadKind kind, Py_ssize_t size,
                      PyObject *separator);

/* Add the type to the module. Return 0, or -1 with an exception. */
int read_op_type_init(PyObject *module);

#endif
