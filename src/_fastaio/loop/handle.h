/* handle.h: Handle and TimerHandle: what call_soon and call_later hand out. */
#ifndef FASTAIO_HANDLE_H
#define FASTAIO_HANDLE_H

#include "base/state.h"
#include "loop/timers.h"

#define HANDLE_INLINE_ARGS 4

typedef struct RunEnd RunEnd; /* handle.c: what other threads wait for */

/* What few handles have, most of it in debug mode. */
typedef struct {
    PyObject *source_tb;
    PyObject *repr; /* what it looked like before it was cancelled */
    PyObject *when; /* a timer's time as its caller gave it, if that was no float */
} HandleNotes;

typedef struct {
    PyObject_HEAD
    PyObject *callback; /* NULL once cancelled */
    PyObject *args[HANDLE_INLINE_ARGS]; /* with `packed`, the first is a tuple of all arguments */
    PyObject *context;
    PyObject *loop;
    PyObject *weakrefs;
    HandleNotes *notes; /* NULL: none */
    union {
        double when; /* a timer: in seconds of loop.time() */
        struct {     /* a guarded handle, which is no timer */
            unsigned long runner; /* the thread that runs it, 0: none */
            RunEnd *run_end;      /* valid while there is a runner; NULL: nobody waits */
        };
    };
    uint8_t arg_count; /* in `args` */
    bool packed : 1;
    bool cancelled : 1;
    bool is_timer : 1;
    bool scheduled : 1; /* a timer that its loop's Timers have */
    bool guarded : 1;   /* other threads that ask or cancel wait for the end of the call */
} HandleObject;

/* A Handle, or with `timer` a TimerHandle, for one of this module's loops. context NULL: a copy of
   the current one. What is made while the loop runs is untracked, as its queues want it: one that is
   to go elsewhere needs handle_track(). */
HandleObject *handle_new(fastaio_state *st, PyObject *loop, PyObject *callback,
                         PyObject *const *args, Py_ssize_t arg_count, PyObject *context,
                         bool timer);
/* What call_soon_threadsafe() returns from 3.14 on, asyncio.events._ThreadSafeHandle: while the
   callback runs, cancel() and cancelled() in another thread wait. */
static inline void
handle_guard(fastaio_state *st, HandleObject *handle)
{
    handle->guarded = st->asyncio_ThreadSafeHandle != Py_None;
}

/* Enter a guarded handle: until handle_leave() other threads that ask or cancel wait. Return 1; 0 if
   this thread was in it already; -1 with an exception. */
int handle_enter(HandleObject *handle);
void handle_leave(HandleObject *handle);

/* The notes, made where there are none; NULL with MemoryError. */
HandleNotes *handle_notes(HandleObject *handle);

/* While a loop runs, what it has queued cannot be garbage, and soon it is gone: the collector need
   not look at it. So the handles that are made then are not tracked until the loop lets go of one
   that somebody else has, or stops. */
static inline void
handle_track(PyObject *handle)
{
    if (!PyObject_GC_IsTracked(handle)) {
        PyObject_GC_Track(handle);
    }
}

/* Drops the reference that the loop's queues had. */
static inline void
handle_release(PyObject *handle)
{
    if (Py_REFCNT(handle) > 1) {
        handle_track(handle);
    }
    Py_DECREF(handle);
}

int handle_types_init(PyObject *module);

#endif
