/* handle.h: Handle and TimerHandle: what call_soon and call_later hand out. */
#ifndef FASTAIO_HANDLE_H
#define FASTAIO_HANDLE_H

#include "state.h"
#include "timers.h"

#define HANDLE_INLINE_ARGS 4

typedef struct RunEnd RunEnd; /* handle.c: what other threads wait for */

typedef struct {
    PyObject_HEAD
    PyObject *callback; /* NULL once cancelled */
    PyObject *args[HANDLE_INLINE_ARGS];
    PyObject *more_args; /* a tuple of all arguments where they are too many for `args` */
    PyObject *context;
    PyObject *loop;
    PyObject *source_tb;
    PyObject *repr; /* in debug mode: what it looked like before it was cancelled */
    PyObject *weakrefs;
    Timers *timers;      /* a timer: where it is scheduled, NULL: nowhere (any more) */
    int64_t when_ns;  /* timers only */
    double when;      /* timers only: in seconds of loop.time() */
    PyObject *when_given; /* timers only: the same as the caller's object, if it was no float */
    unsigned long runner; /* guarded only: the thread that runs it, 0: none */
    RunEnd *run_end;      /* valid while there is a runner; NULL: nobody waits */
    uint8_t arg_count; /* in `args` */
    bool cancelled : 1;
    bool is_timer : 1;
    bool guarded : 1; /* other threads that ask or cancel wait for the end of the call */
} HandleObject;

/* A Handle, or with `timer` a TimerHandle. context NULL: a copy of the current one. */
HandleObject *handle_new(fastaio_state *st, PyObject *loop, PyObject *callback,
                         PyObject *const *args, Py_ssize_t arg_count, PyObject *context,
                         bool timer);
/* Calls it in its context; -1 with the callback's exception. A cancelled one does nothing. */
int handle_run(fastaio_state *st, HandleObject *handle);
/* What call_soon_threadsafe() returns from 3.14 on, asyncio.events._ThreadSafeHandle: while the
   callback runs, cancel() and cancelled() in another thread wait. */
static inline void
handle_guard(fastaio_state *st, HandleObject *handle)
{
    handle->guarded = st->asyncio_ThreadSafeHandle != Py_None;
}
int handle_types_init(PyObject *module);

#endif
