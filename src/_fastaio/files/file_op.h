/* file_op.h: one operation on a file, in flight on a loop's io_uring.
 *
 * A FileOp owns all that the kernel has been told of (buffer, paths) until it
 * hears that the kernel has let go of it, whatever becomes of who waits. A read
 * or write that falls short is completed before its future is done.
 */
#ifndef FASTAIO_FILE_OP_H
#define FASTAIO_FILE_OP_H

#include "base/state.h"

int file_op_init(PyObject *module);

#endif
