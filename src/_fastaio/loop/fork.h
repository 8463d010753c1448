/* fork.h: what os.fork() means for the loops of this process and of the child. */
#ifndef FASTAIO_FORK_H
#define FASTAIO_FORK_H

#include "loop/loop.h"

/* Tell the loop's poller of each fork, in the child, until fork_unlisten(). */
void fork_listen(LoopObject *loop);
/* Tell it no longer; harmless when it is not told. */
void fork_unlisten(LoopObject *loop);

/* Make the module state's keeper, and register the hooks of os.fork() and of the interpreter's end.
   Return 0, or -1 with an exception. */
int fork_init(PyObject *module);

#endif
