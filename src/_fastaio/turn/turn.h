/* turn.h: running a loop, reports of entries that fail or are slow, and entries as asyncio's handles. */
#ifndef FASTAIO_TURN_H
#define FASTAIO_TURN_H

#include "loop/loop.h"

/* Do one turn. Polls, and blocks if nothing is ready. Return 0, or -1 with what leaves the loop. */
int loop_run_once(LoopObject *loop);
/* Do turns until stop(). The caller has made this the running loop. Return 0, or -1 with what leaves the
   loop; queued output has been sent. */
int loop_run(LoopObject *loop);

/* ---- reports (entry_report.c) ---------------------------------------------------------------- */

/* Report the exception that an entry raised to the exception handler. Return 0, or -1 with what leaves the
   loop. */
int loop_report_entry(LoopObject *loop, ReadyEntry *entry);
/* Do run(loop, entry), and log asyncio's warning if that takes slow_callback_duration or longer. An
   exception is reported if `reports` is true. Return 0, or -1 with what leaves the loop. */
int loop_run_timed(LoopObject *loop, ReadyEntry *entry,
                   int (*run)(LoopObject *loop, ReadyEntry *entry), bool reports);

/* ---- views (view.c) -------------------------------------------------------------------------- */

/* Return a new reference to the Handle that asyncio would have made of the entry; NULL with an
   exception. The entry stays as it is. */
HandleObject *loop_entry_handle(LoopObject *loop, const ReadyEntry *entry);
/* Run the entry as a Handle by Handle._run, which a tracer has replaced. Return 0, or -1 with what leaves
   the loop. */
int loop_run_traced(LoopObject *loop, ReadyEntry *entry);
/* Get and set the attributes _ready and _scheduled. */
PyObject *loop_get_ready(LoopObject *loop, void *closure);
int loop_set_ready(LoopObject *loop, PyObject *value, void *closure);
PyObject *loop_get_scheduled(LoopObject *loop, void *closure);
int loop_set_scheduled(LoopObject *loop, PyObject *value, void *closure);
int loop_view_init(PyObject *module);

/* Make the Loop type (loop_type.c). */
int loop_types_init(PyObject *module);

#endif
