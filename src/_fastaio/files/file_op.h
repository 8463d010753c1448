/* file_op.h: the type FileOp, one operation on a file, in flight on a loop's io_uring.
 *
 * A FileOp owns the memory that the kernel uses (buffer, paths) until the kernel reports the end of
 * the operation, even if the waiting task is cancelled or the loop closed. A short read or write is
 * submitted again before the future is done.
 */
#ifndef FASTAIO_FILE_OP_H
#define FASTAIO_FILE_OP_H

#include "base/state.h"

/* Add the type FileOp and the functions that make one. Return 0, or -1 with an exception. */
int file_op_init(PyObject *module);

#endif
