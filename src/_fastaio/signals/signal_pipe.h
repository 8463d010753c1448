/* signal_pipe.h: the pipe that signals of the process are written to while a loop runs. */
#ifndef FASTAIO_SIGNAL_PIPE_H
#define FASTAIO_SIGNAL_PIPE_H

#include "base/state.h"

/* Make the SignalPipe type. Return 0, or -1 with an exception. */
int signal_pipe_type_init(PyObject *module);
/* Take the pipes' numbers away from a forked child: its signals must not reach the parent's loops. */
void signal_pipe_after_fork(fastaio_state *st);

#endif
