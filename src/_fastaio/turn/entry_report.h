/* entry_report.h: reports of entries that raise, and of entries that are slow. */
#ifndef FASTAIO_ENTRY_REPORT_H
#define FASTAIO_ENTRY_REPORT_H

#include "loop/loop.h"

/* Report the exception that an entry raised to the exception handler. Return 0, or -1 with what leaves the
   loop. */
int loop_report_entry(LoopObject *loop, ReadyEntry *entry);
/* Return run(loop, entry), and log asyncio's warning if that takes slow_callback_duration or longer. */
int loop_run_timed(LoopObject *loop, ReadyEntry *entry,
                   int (*run)(LoopObject *loop, ReadyEntry *entry));

/* Return true if the recorder has found that the code at work blocks the loop. */
static inline bool
has_stalled(LoopObject *loop)
{
    return __builtin_expect(
        atomic_load_explicit(&loop->watchdog.stalled, memory_order_relaxed), false);
}
/* Tell the recorder that the stall it has found is over. `entry`: what ran; NULL: no entry. Keeps the raised
   exception. */
void loop_end_stall(LoopObject *loop, const ReadyEntry *entry);

#endif
