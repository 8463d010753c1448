/* handle.h: making, guarding and annotating the Handles that call_soon() and call_later() return. */
#ifndef FASTAIO_HANDLE_H
#define FASTAIO_HANDLE_H

#include "base/state.h"
#include "loop/handle_object.h"

/* Return a new Handle, or a TimerHandle if `timer` is true; NULL with an exception. `loop` must be one
   of this module's. The callback runs in `context`; NULL: in a copy of the current one. A handle that
   is made while the loop runs is untracked: a caller that does not queue the handle must call
   handle_track(). */
HandleObject *handle_new(fastaio_state *st, PyObject *loop, PyObject *callback,
                         PyObject *const *args, Py_ssize_t arg_count, PyObject *context,
                         bool timer);

/* Make a handle behave as asyncio.events._ThreadSafeHandle, which call_soon_threadsafe() returns from
   3.14 on: while the callback runs, cancel() and cancelled() in another thread wait. With a GIL it has no effect
   on earlier versions. */
static inline void
handle_guard(fastaio_state *st, HandleObject *handle)
{
    handle->guarded = !HAS_GIL || st->asyncio_ThreadSafeHandle != Py_None;
}

/* Enter a guarded handle. Until handle_leave(), cancel() and cancelled() in other threads wait. Return 1; 0
   if this thread has already entered, and must not leave again; or -1 with an exception. */
int handle_enter(HandleObject *handle);
void handle_leave(HandleObject *handle);

/* Return a new reference to the callback; NULL, without an exception, if cancel() has dropped it. */
PyObject *handle_callback(HandleObject *handle);
/* Return a new reference to what handle_keep_source() has noted; NULL without an exception. */
PyObject *handle_source(HandleObject *handle);

/* Return the loop whose claim guards the handle, borrowed. NULL: any thread may use it, as a handle of
   call_soon_threadsafe(). */
PyObject *handle_guarding_loop(HandleObject *handle);
/* Do handle.cancel() in a thread that has the claim of that loop. Return 0, or -1 with an exception. */
int handle_cancel(HandleObject *handle);

/* Return the handle's notes, made at the first call; NULL with MemoryError. */
HandleNotes *handle_notes(HandleObject *handle);
/* Note the stack of the running code as the handle's _source_traceback, for reports in debug mode.
   Return 0, or -1 with an exception. */
int handle_keep_source(fastaio_state *st, HandleObject *handle);

int handle_types_init(PyObject *module);

#endif
