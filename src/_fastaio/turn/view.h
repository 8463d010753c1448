/* view.h: the ready queue and the timers as asyncio's handles, for tracers and debuggers. */
#ifndef FASTAIO_VIEW_H
#define FASTAIO_VIEW_H

#include "loop/loop.h"

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

/* Make the type of native callbacks. Return 0, or -1 with an exception. */
int loop_view_init(PyObject *module);

#endif
