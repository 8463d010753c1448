/* entry_report.c: reports of entries that raise, and of entries that are slow. */
#include "turn/entry_report.h"

#include "base/error.h"
#include "turn/view.h"

int
loop_report_entry(LoopObject *loop, ReadyEntry *entry)
{
    if (raised_leaves_loop()) {
        return -1;
    }
    PyObject *exception = PyErr_GetRaisedException();
    HandleObject *handle = loop_entry_handle(loop, entry);
    if (handle == NULL) {
        Py_DECREF(exception);
        return -1;
    }
    PyErr_SetRaisedException(exception);
    int result = loop_report_handle(loop, handle);
    Py_DECREF((PyObject *)handle);
    return result;
}

/* ---- slow callbacks -------------------------------------------------------------------------- */

/* Log that an entry took spent_ns. Return 0, or -1 with an exception. */
static int
warn_slow(LoopObject *loop, ReadyEntry *entry, int64_t spent_ns)
{
    int result = -1;
    PyObject *what = NULL, *logged = NULL;
    /* As in asyncio, the logger is looked up each time: tests and log set-ups replace it. */
    PyObject *module = PyImport_ImportModule("asyncio.base_events");
    PyObject *logger = module ? PyObject_GetAttrString(module, "logger") : NULL;
    if (logger == NULL) {
        goto done;
    }
    if (entry->kind == READY_TASK_STEP || entry->kind == READY_TASK_WAKEUP) {
        what = PyObject_Repr(entry->obj);
    }
    else {
        HandleObject *handle = loop_entry_handle(loop, entry);
        what = handle ? PyObject_Str((PyObject *)handle) : NULL;
        Py_XDECREF((PyObject *)handle);
    }
    if (what != NULL) {
        logged = PyObject_CallMethod(logger, "warning", "sOd",
                                     "Executing %s took %.3f seconds", what,
                                     (double)spent_ns / NS_PER_SECOND);
    }
    if (logged != NULL) {
        result = 0;
    }
done:
    Py_XDECREF(module);
    Py_XDECREF(logger);
    Py_XDECREF(what);
    Py_XDECREF(logged);
    return result;
}

int
loop_run_timed(LoopObject *loop, ReadyEntry *entry,
               int (*run)(LoopObject *loop, ReadyEntry *entry), bool reports)
{
    PyObject *self = (PyObject *)loop;
    PyObject *handle = entry->kind == READY_HANDLE ? entry->obj : Py_None;
    if (PyObject_SetAttrString(self, "_current_handle", handle) < 0) {
        return -1;
    }
    int64_t begin = clock_ns();
    int result = run(loop, entry);
    int64_t spent = clock_ns() - begin;
    PyObject *error = result < 0 ? PyErr_GetRaisedException() : NULL;
    if (spent >= loop->watchdog.slow_ns) {
        loop->metrics.slow_callbacks++;
        if (warn_slow(loop, entry, spent) < 0) {
            PyErr_WriteUnraisable(self);
        }
    }
    if (error != NULL && reports) {
        PyErr_SetRaisedException(error);
        if (loop_report_entry(loop, entry) < 0) {
            result = -1;
            error = PyErr_GetRaisedException();
        }
        else {
            result = 0;
            error = NULL;
        }
    }
    if (PyObject_SetAttrString(self, "_current_handle", Py_None) < 0) {
        PyErr_WriteUnraisable(self);
    }
    if (error != NULL) {
        PyErr_SetRaisedException(error);
    }
    return result;
}
