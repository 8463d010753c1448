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

/* Return the text that names what an entry runs: a new reference, or NULL with an exception. */
static PyObject *
describe_entry(LoopObject *loop, const ReadyEntry *entry)
{
    if (entry->kind == READY_TASK_STEP || entry->kind == READY_TASK_WAKEUP) {
        return PyObject_Repr(entry->obj);
    }
    HandleObject *handle = loop_entry_handle(loop, entry);
    PyObject *text = handle ? PyObject_Str((PyObject *)handle) : NULL;
    Py_XDECREF((PyObject *)handle);
    return text;
}

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
    what = describe_entry(loop, entry);
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
               int (*run)(LoopObject *loop, ReadyEntry *entry))
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
    if (spent >= relaxed_load(&loop->watchdog.slow_ns)) {
        relaxed_add(&loop->metrics.slow_callbacks, 1);
        if (warn_slow(loop, entry, spent) < 0) {
            PyErr_WriteUnraisable(self);
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

/* ---- stalls ---------------------------------------------------------------------------------- */

void
loop_end_stall(LoopObject *loop, const ReadyEntry *entry)
{
    PyObject *raised = PyErr_GetRaisedException();
    StallEnd end = recorder_take_end(&loop->stall);
    PyObject *subject = NULL;
    if (entry != NULL && end.state != STALL_NONE && end.state != STALL_TAKEN) { /* the reporter has not seen what ran */
        subject = describe_entry(loop, entry);
        if (subject == NULL) {
            PyErr_WriteUnraisable((PyObject *)loop);
        }
    }
    recorder_tell_end(&loop->stall, &end, subject);
    Py_XDECREF(subject);
    if (raised != NULL) {
        PyErr_SetRaisedException(raised);
    }
}
