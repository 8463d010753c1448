/* wait.h: polling, waiting, and firing timers. */
#ifndef FASTAIO_WAIT_H
#define FASTAIO_WAIT_H

#include "loop/loop.h"

/* Poll, if there is a reason, and queue the owners of reported events. Blocks until the next timer if
   nothing is ready. The turn after one that found events does not poll, unless there was output or other
   I/O: the callbacks that these events woke run first. Polling in between would split answers that can
   leave together, and wake the peers more often. Return 0, or -1 with what leaves the loop. */
int poll_if_due(LoopObject *loop);

/* Move the due timers into the ready queue, in order of their deadlines. Return 0, or -1 with what leaves
   the loop. */
int fire_timers(LoopObject *loop);

/* Offer the GIL to other threads; the clock is exact afterwards. */
void let_others_in(LoopObject *loop);

#endif
