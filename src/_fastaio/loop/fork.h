/* fork.h: the hooks of os.fork(), and the loops whose pollers are told of a fork. */
#ifndef FASTAIO_FORK_H
#define FASTAIO_FORK_H

#include "loop/loop.h"

/* From now on, tell the loop's poller in the child of each fork. */
void fork_listen(LoopObject *loop);
/* End that; harmless when repeated. */
void fork_unlisten(LoopObject *loop);

/* Make the module state's keeper, and register the hooks of os.fork() and of the interpreter's end.
   Return 0, or -1 with an exception. */
int fork_init(PyObject *module);

#endif
