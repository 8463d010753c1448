/* run.h: how a handle's callback is called. */
#ifndef FASTAIO_RUN_H
#define FASTAIO_RUN_H

#include "loop/loop.h"

/* Call a handle's callback in its context. A cancelled handle does nothing. Return 0, or -1 with the
   callback's exception. */
int handle_run(fastaio_state *st, HandleObject *handle);

#endif
