/* pipe.h: the native halves of the transports of pipes. */
#ifndef FASTAIO_PIPE_H
#define FASTAIO_PIPE_H

#include "loop/loop.h"

/* Add the types ReadPipeCore and WritePipeCore. Return 0, or -1 with an exception. */
int pipe_read_type_init(PyObject *module);  /* pipe_read.c */
int pipe_write_type_init(PyObject *module); /* pipe_write.c */

#endif
