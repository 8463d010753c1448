/* handle_object.h: the struct of a Handle, for the loop's queues, and when the collector tracks one.
 *
 * The garbage collector need not look at handles that a running loop has queued: such a handle cannot be
 * garbage, and is gone soon. So a handle that is made while its loop runs is untracked. A handle is
 * tracked when the loop drops it while another reference is left, when the run ends, and if its maker
 * does not queue it. Without a GIL, a handle that another thread makes is always tracked.
 */
#ifndef FASTAIO_HANDLE_OBJECT_H
#define FASTAIO_HANDLE_OBJECT_H

#include "base/compat.h"

#define HANDLE_INLINE_ARGS 4

typedef struct RunEnd RunEnd; /* handle.c: a lock for threads that wait for the end of the call */

/* Fields that few handles need, most of them in debug mode only. */
typedef struct {
    PyObject *source_tb;
    PyObject *repr; /* repr() of the handle before it was cancelled */
    PyObject *when; /* a timer's deadline as its caller gave it, if that was not a float */
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
    /* Each is a byte of its own: any thread reads some of them, while another one writes others. */
    uint8_t arg_count; /* in `args` */
    bool packed;
    bool cancelled; /* any thread may read it: relaxed_load() */
    bool is_timer;
    bool scheduled; /* the loop's Timers have it */
    bool guarded;   /* cancel() and cancelled() in another thread wait for the end of the call */
} HandleObject;

/* Let the garbage collector see a handle; harmless when repeated. */
static inline void
handle_track(PyObject *handle)
{
    if (!PyObject_GC_IsTracked(handle)) {
        PyObject_GC_Track(handle);
    }
}

/* Drop a queue's reference. Track the handle if another reference is left. */
static inline void
handle_release(PyObject *handle)
{
    if (Py_REFCNT(handle) > 1) {
        handle_track(handle);
    }
    Py_DECREF(handle);
}

#endif
