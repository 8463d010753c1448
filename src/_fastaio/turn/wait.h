/* wait.h: what a turn waits for: events of the kernel, other threads, the time.
 *
 * All of these return 0, or -1 with what leaves the loop.
 */
#ifndef FASTAIO_WAIT_H
#define FASTAIO_WAIT_H

#include "loop/loop.h"

/* Ask the kernel, if there is a reason, and queue the owners of what it reports. Blocks where nothing is
   ready, until the next timer. The turn behind one that found events does not ask, unless there was
   output or the like: what the events woke up goes first. To look for more in between would split what
   can be answered together, and wake the peers more often. */
int poll_if_due(LoopObject *loop);

/* Move the timers that are due into the ready queue, in order of their deadlines. */
int fire_timers(LoopObject *loop);

/* Offer the GIL to other threads. */
void let_others_in(LoopObject *loop);

#endif
