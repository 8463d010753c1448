/* turn.h: running a loop. */
#ifndef FASTAIO_TURN_H
#define FASTAIO_TURN_H

#include "loop/loop.h"

/* Do one turn. Polls, and blocks if nothing is ready. Return 0, or -1 with what leaves the loop. */
int loop_run_once(LoopObject *loop);
/* Do turns until stop(). The caller has made this the running loop. Return 0, or -1 with what leaves the
   loop; queued output has been sent. */
int loop_run(LoopObject *loop);

#endif
