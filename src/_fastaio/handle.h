/* handle.h: Handle and TimerHandle: what call_soon and call_later hand out. */
#ifndef FASTAIO_HANDLE_H
#define FASTAIO_HANDLE_H

#include "state.h"
#include "timers.h"

#define HANDLE_INLINE_ARGS 4

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
    uint8_t arg_count; /* in `args` */
    bool cancelled : 1;
    bool is_timer : 1;
} HandleObject;

/* A Handle, or with `timer` a TimerHandle. context NULL: a copy of the current one. */
HandleObject *handle_new(fastaio_state *st, PyObject *loop, PyObject *callback,
                         PyObject *const *args, Py_ssize_t arg_count, PyObject *context,
                         bool timer);
/* Calls it in its context; -1 with the callback's exception. A cancelled one does nothing. */
int handle_run(fastaio_state *st, HandleObject *handle);
int handle_types_init(PyObject *module);

#endif
