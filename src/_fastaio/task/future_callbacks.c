/* future_callbacks.c: queueing a future's callbacks once it is done, adding and removing them. */
#include "task/future_callbacks.h"

#include "loop/loop.h"
#include "task/done_callback.h"

/* ---- scheduling ------------------------------------------------------------------------------ */

int
future_loop_is_direct(FutureCore *core)
{
    LoopObject *loop = core->native_loop;
    if (loop == NULL || (loop_overrides(loop) & OVERRIDE_CALL_SOON)) {
        return 0;
    }
    if (relaxed_load(&loop->closed) && loop_check_closed(loop) < 0) {
        return -1;
    }
    if (relaxed_load(&loop->watchdog.debug) && loop_check_thread(loop) < 0) {
        return -1;
    }
    return 1;
}

/* Call loop.call_soon(callback, future, context=context) of any loop. Return 0, or -1 with an exception. */
static int
foreign_call_soon(FutureCore *core, PyObject *callback, PyObject *context)
{
    PyObject *stack[4] = {core->loop, callback, future_object(core), context};
    PyObject *handle = PyObject_VectorcallMethod(core->st->str_call_soon, stack,
                                                 3 | PY_VECTORCALL_ARGUMENTS_OFFSET,
                                                 context ? core->st->context_kwname : NULL);
    Py_XDECREF(handle);
    return handle ? 0 : -1;
}

/* Return true if a callback in C has no more to do. A loop that times or traces its callbacks runs all, and other
   threads leave what callbacks work on to the loop. */
static bool
is_absorbed(FutureCore *core, DoneCallback *callback)
{
    LoopObject *loop = core->native_loop;
    return callback->spec->absorb != NULL && claim_is_mine(&loop->claim) && !relaxed_load(&loop->watchdog.timed)
           && !handle_run_is_replaced(&core->st->replaced)
           && callback->spec->absorb(callback, core);
}

/* Have a callback called soon. Return 0, or -1 with an exception. */
static int
call_callback_soon(FutureCore *core, PyObject *callback, PyObject *context)
{
    int direct = future_loop_is_direct(core);
    if (direct <= 0) {
        return direct < 0 ? -1 : foreign_call_soon(core, callback, context);
    }
    if (done_callback_check(core->st, callback) && is_absorbed(core, (DoneCallback *)callback)) {
        return 0;
    }
    return loop_push(core->native_loop, (ReadyEntry){.kind = READY_FUTURE_CALLBACK,
                                                     .obj = callback,
                                                     .arg = future_object(core),
                                                     .context = context});
}

/* Return a new reference to the first callback; for a waiting task, to its wake-up. NULL with an exception.
   */
static PyObject *
first_callback(FutureCore *core)
{
    return core->waiter_is_task ? task_wakeup_callable((TaskObject *)core->callback)
                                : Py_NewRef(core->callback);
}

/* Have the waiting task woken soon. Return 0, or -1 with an exception. */
static int
wake_waiter(FutureCore *core, TaskObject *task)
{
    int direct = task->core.native_loop == core->native_loop ? future_loop_is_direct(core) : 0;
    if (direct > 0) {
        return loop_push(core->native_loop, (ReadyEntry){.kind = READY_TASK_WAKEUP,
                                                         .obj = (PyObject *)task,
                                                         .arg = future_object(core)});
    }
    if (direct < 0) {
        return -1;
    }
    PyObject *wakeup = task_wakeup_callable(task);
    if (wakeup == NULL) {
        return -1;
    }
    int result = foreign_call_soon(core, wakeup, task->context);
    Py_DECREF(wakeup);
    return result;
}

int
future_schedule_callbacks(FutureCore *core)
{
    if (core->callback == NULL && core->callbacks == NULL) {
        return 0;
    }
    int result = 0;
    PyObject *callback = core->callback, *context = core->context, *others = core->callbacks;
    core->callback = core->context = core->callbacks = NULL;
    if (callback != NULL && core->waiter_is_task) {
        core->waiter_is_task = false;
        result = wake_waiter(core, (TaskObject *)callback);
    }
    else if (callback != NULL) {
        result = call_callback_soon(core, callback, context);
    }
    for (Py_ssize_t i = 0; others != NULL && result == 0 && i < PyList_GET_SIZE(others); i++) {
        PyObject *pair = Py_NewRef(PyList_GET_ITEM(others, i));
        result = call_callback_soon(core, PyTuple_GET_ITEM(pair, 0), PyTuple_GET_ITEM(pair, 1));
        Py_DECREF(pair);
    }
    Py_XDECREF(callback);
    Py_XDECREF(context);
    Py_XDECREF(others);
    return result;
}

/* ---- adding and removing --------------------------------------------------------------------- */

/* Add a callback behind the first. Return 0, or -1 with an exception. */
static int
append_callback(FutureCore *core, PyObject *callback, PyObject *context)
{
    PyObject *pair = PyTuple_Pack(2, callback, context);
    if (pair == NULL) {
        return -1;
    }
    int result = -1;
    PyObject *list = core->callbacks ? Py_NewRef(core->callbacks) : PyList_New(0);
    if (list != NULL) {
        result = PyList_Append(list, pair);
    }
    if (core->callbacks == NULL && result == 0) {
        core->callbacks = Py_NewRef(list);
    }
    Py_XDECREF(list);
    Py_DECREF(pair);
    return result;
}

static int
add_callback_held(FutureCore *core, PyObject *callback, PyObject *context)
{
    if (!future_is_pending(core)) {
        return call_callback_soon(core, callback, context);
    }
    if (core->callback != NULL || core->callbacks != NULL) {
        return append_callback(core, callback, context);
    }
    core->callback = Py_NewRef(callback);
    core->context = Py_NewRef(context);
    return 0;
}

int
future_add_callback(FutureCore *core, PyObject *callback, PyObject *context)
{
    int result;
    Py_BEGIN_CRITICAL_SECTION(future_object(core));
    result = add_callback_held(core, callback, context);
    Py_END_CRITICAL_SECTION();
    return result;
}

int
future_add_waiter_held(FutureCore *core, PyObject *task)
{
    if (!future_is_pending(core)) {
        return wake_waiter(core, (TaskObject *)task);
    }
    if (core->callback == NULL && core->callbacks == NULL) {
        core->callback = Py_NewRef(task);
        core->waiter_is_task = true;
        return 0;
    }
    PyObject *wakeup = task_wakeup_callable((TaskObject *)task);
    if (wakeup == NULL) {
        return -1;
    }
    int result = append_callback(core, wakeup, ((TaskObject *)task)->context);
    Py_DECREF(wakeup);
    return result;
}

const char core_doc_add_done_callback[] =
    "add_done_callback($self, fn, /, *, context=None)\n--\n\n"
    "Have fn(self) called by loop.call_soon() once the future is done; soon if it is done.\n\n"
    "context: the contextvars.Context that fn runs in; None: a copy of the current one.";

PyObject *
core_add_done_callback(FutureCore *core, PyObject *const *args, Py_ssize_t count,
                       PyObject *keywords)
{
    Py_ssize_t keyword_count = keywords ? PyTuple_GET_SIZE(keywords) : 0;
    PyObject *context = Py_None;
    if (!future_is_initialized(core)) {
        PyErr_SetString(PyExc_RuntimeError, "uninitialized Future object");
        return NULL;
    }
    if (count != 1) {
        PyErr_Format(PyExc_TypeError,
                     "add_done_callback() takes exactly 1 positional argument (%zd given)", count);
        return NULL;
    }
    if (keyword_count) {
        PyObject *name = PyTuple_GET_ITEM(keywords, 0);
        if (keyword_count > 1 || PyUnicode_Compare(name, core->st->str_context) != 0) {
            PyErr_Format(PyExc_TypeError,
                         "add_done_callback() got an unexpected keyword argument '%U'",
                         keyword_count > 1 ? PyTuple_GET_ITEM(keywords, 1) : name);
            return NULL;
        }
        context = args[1];
    }
    context = context == Py_None ? PyContext_CopyCurrent() : Py_NewRef(context);
    if (context == NULL) {
        return NULL;
    }
    int result = future_add_callback(core, args[0], context);
    Py_DECREF(context);
    if (result < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* Remove the first callback if it equals `callback`. Return the number removed, or -1 with an exception.
   Comparing and dropping run code that may change the callbacks, so the fields are emptied first. */
static int
remove_first_callback(FutureCore *core, PyObject *callback)
{
    PyObject *found = core->callback;
    if (found == NULL) {
        return 0;
    }
    PyObject *first = first_callback(core);
    if (first == NULL) {
        return -1;
    }
    int equal = PyObject_RichCompareBool(first, callback, Py_EQ);
    Py_DECREF(first);
    if (equal > 0 && core->callback == found) {
        PyObject *old = core->callback, *context = core->context;
        core->callback = core->context = NULL;
        core->waiter_is_task = false;
        Py_XDECREF(old);
        Py_XDECREF(context);
    }
    return equal;
}

static Py_ssize_t
remove_callback_held(FutureCore *core, PyObject *callback)
{
    Py_ssize_t removed = remove_first_callback(core, callback);
    if (removed < 0 || core->callbacks == NULL) {
        return removed;
    }
    PyObject *kept = PyList_New(0);
    if (kept == NULL) {
        return -1;
    }
    /* Comparing runs code that may replace or change the list, so each step reads both again. */
    for (Py_ssize_t i = 0; core->callbacks != NULL && i < PyList_GET_SIZE(core->callbacks); i++) {
        PyObject *pair = Py_NewRef(PyList_GET_ITEM(core->callbacks, i));
        int equal = PyObject_RichCompareBool(PyTuple_GET_ITEM(pair, 0), callback, Py_EQ);
        if (equal < 0 || (equal == 0 && PyList_Append(kept, pair) < 0)) {
            Py_DECREF(pair);
            Py_DECREF(kept);
            return -1;
        }
        removed += equal;
        Py_DECREF(pair);
    }
    if (core->callbacks != NULL && PyList_GET_SIZE(kept)) {
        Py_SETREF(core->callbacks, kept);
    }
    else {
        Py_CLEAR(core->callbacks);
        Py_DECREF(kept);
    }
    return removed;
}

Py_ssize_t
future_remove_callback(FutureCore *core, PyObject *callback)
{
    Py_ssize_t removed;
    Py_BEGIN_CRITICAL_SECTION(future_object(core));
    removed = remove_callback_held(core, callback);
    Py_END_CRITICAL_SECTION();
    return removed;
}

const char core_doc_remove_done_callback[] =
    "remove_done_callback($self, fn, /)\n--\n\n"
    "Remove every callback that equals fn. Return the number removed.";

PyObject *
core_remove_done_callback(FutureCore *core, PyObject *callback)
{
    if (future_ensure_initialized(core) < 0) {
        return NULL;
    }
    Py_ssize_t removed = future_remove_callback(core, callback);
    return removed < 0 ? NULL : PyLong_FromSsize_t(removed);
}

PyObject *
core_get__callbacks(FutureCore *core)
{
    if (future_ensure_initialized(core) < 0) {
        return NULL;
    }
    if (core->callback == NULL) {
        return core->callbacks ? PyList_GetSlice(core->callbacks, 0, PY_SSIZE_T_MAX)
                               : Py_NewRef(Py_None);
    }
    /* Own references first: making the list may start the collector, which runs code. */
    PyObject *context =
        core->waiter_is_task ? ((TaskObject *)core->callback)->context : core->context;
    context = Py_NewRef(context ? context : Py_None);
    PyObject *list = NULL, *pair = NULL, *first = first_callback(core);
    if (first == NULL || (list = PyList_New(0)) == NULL) {
        goto error;
    }
    pair = PyTuple_Pack(2, first, context);
    if (pair == NULL || PyList_Append(list, pair) < 0) {
        goto error;
    }
    if (core->callbacks != NULL
        && PyList_SetSlice(list, 1, PY_SSIZE_T_MAX, core->callbacks) < 0) {
        goto error;
    }
    Py_DECREF(pair);
    Py_DECREF(first);
    Py_DECREF(context);
    return list;
error:
    Py_XDECREF(pair);
    Py_XDECREF(first);
    Py_XDECREF(list);
    Py_DECREF(context);
    return NULL;
}
