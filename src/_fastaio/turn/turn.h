/* turn.h: what drives a loop: one iteration, many, and what is said of an entry that fails. */
#ifndef FASTAIO_TURN_H
#define FASTAIO_TURN_H

#include "loop/loop.h"

/* One turn by itself, which blocks where nothing is ready: 0, or -1 with what leaves the loop. */
int loop_run_once(LoopObject *loop);
/* Turns until stop(): 0, or -1 with the exception that leaves the loop. */
int loop_run(LoopObject *loop);

/* Report what an entry of the ready queue raised to the exception handler (entry_report.c). Return 0, or
   -1 with what leaves the loop. */
int loop_report_entry(LoopObject *loop, ReadyEntry *entry);
/* run(loop, entry), with asyncio's warning where it took longer than slow_callback_duration. What it
   raises is reported, or leaves the loop if `reports` is false: -1. */
int loop_run_timed(LoopObject *loop, ReadyEntry *entry,
                   int (*run)(LoopObject *loop, ReadyEntry *entry), bool reports);

/* Return the entry as the Handle that asyncio would have made of it, for others to see; NULL with an
   exception (view.c). The entry stays as it is. */
HandleObject *loop_entry_handle(LoopObject *loop, const ReadyEntry *entry);
/* Run the entry as a Handle, by asyncio's Handle._run, which others have replaced. -1 with what
   leaves the loop. */
int loop_run_traced(LoopObject *loop, ReadyEntry *entry);
/* The attributes _ready and _scheduled. */
PyObject *loop_get_ready(LoopObject *loop, void *closure);
int loop_set_ready(LoopObject *loop, PyObject *value, void *closure);
PyObject *loop_get_scheduled(LoopObject *loop, void *closure);
int loop_set_scheduled(LoopObject *loop, PyObject *value, void *closure);
int loop_view_init(PyObject *module);

int loop_types_init(PyObject *module);

#endif
