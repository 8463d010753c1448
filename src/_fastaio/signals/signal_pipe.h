/* signal_pipe.h: the pipe that gets the signals of the process while a loop runs. */
#ifndef FASTAIO_SIGNAL_PIPE_H
#define FASTAIO_SIGNAL_PIPE_H

#include "base/state.h"

/* Add the type SignalPipe. Return 0, or -1 with an exception. */
int signal_pipe_type_init(PyObject *module);
/* Take the pipes' numbers away from a forked child, whose signals must not reach the parent's
   loops. Call it in the child. */
void signal_pipe_after_fork(fastaio_state *st);
/* Give a forked child that runs its copy of a loop signal pipes of its own. Return 0, or -1 with OSError. */
int signal_pipes_renew(fastaio_state *st);

#endif
