/* task.c: the steps of a task: sending to its coroutine, and awaiting the object that this yields. */
#include "task/task.h"

#include "base/asyncio_versions.h"
#include "base/error.h"
#include "base/probe.h"
#include "loop/loop.h"
#include "task/coro.h"
#include "task/future.h"
#include "task/future_callbacks.h"
#include "task/future_methods.h"
#include "task/registry.h"

/* ---- steps as callables ---------------------------------------------------------------------- */

/* Do a step as the current task; `exc` may be NULL. Return None, or NULL with an exception. */
static PyObject *
step_as_current(TaskObject *task, PyObject *exc)
{
    PyObject *self = (PyObject *)task, *previous = NULL;
    fastaio_state *st = task->core.st;
    /* Called by another library's loop, which has entered the task's context and made no task current. */
    if (registry_swap_current(st, task->core.loop, self, &previous) < 0) {
        return NULL;
    }
    if (previous != NULL) {
        PyErr_Format(PyExc_RuntimeError,
                     "Cannot enter into task %R while another task %R is being executed.", self,
                     previous);
        PyObject *error = PyErr_GetRaisedException();
        registry_swap_current(st, task->core.loop, previous, NULL);
        Py_DECREF(previous);
        PyErr_SetRaisedException(error);
        return NULL;
    }
    int result = task_step(task, exc);
    PyObject *error = result < 0 ? PyErr_GetRaisedException() : NULL;
    if (registry_swap_current(st, task->core.loop, NULL, NULL) < 0) {
        PyErr_Clear();
    }
    if (error != NULL) {
        PyErr_SetRaisedException(error);
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
task_step_method(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    TaskObject *task = (TaskObject *)self;
    if (future_ensure_initialized(&task->core) < 0) {
        return NULL;
    }
    LoopObject *loop = task->core.native_loop;
    if (loop != NULL && claim_begin(&loop->claim) < 0) {
        return NULL;
    }
    PyObject *result = step_as_current(task, count ? args[0] : NULL);
    if (loop != NULL) {
        claim_end(&loop->claim);
    }
    return result;
}

static PyObject *
task_wakeup_method(PyObject *self, PyObject *future)
{
    TaskObject *task = (TaskObject *)self;
    fastaio_state *st = task->core.st;
    /* A subclass may have a result() of its own. */
    FutureCore *core = future_is_exact(st, future) ? future_core(st, future) : NULL;
    PyObject *result = NULL, *exc = NULL;
    if (core != NULL && future_is_initialized(core) && future_has_failed(core)) {
        exc = future_get_exception(core);
    }
    else {
        result = core ? core_result(core) : PyObject_CallMethodNoArgs(future, st->str_result);
        Py_XDECREF(result);
    }
    if (result == NULL && exc == NULL) {
        exc = PyErr_GetRaisedException();
    }
    result = task_step_method(self, &exc, exc != NULL);
    Py_XDECREF(exc);
    return result;
}

static PyMethodDef task_step_def = {"task_step", (PyCFunction)(void (*)(void))task_step_method,
                                    METH_FASTCALL, NULL};
PyMethodDef task_wakeup_def = {"task_wakeup", task_wakeup_method, METH_O, NULL};

PyObject *
task_step_callable(TaskObject *task)
{
    return PyCFunction_New(&task_step_def, (PyObject *)task);
}

/* ---- scheduling a step ----------------------------------------------------------------------- */

int
task_step_soon(TaskObject *task, PyObject *exc)
{
    FutureCore *core = &task->core;
    int direct = future_loop_is_direct(core);
    if (direct > 0) {
        return loop_push(core->native_loop, (ReadyEntry){.kind = READY_TASK_STEP,
                                                         .obj = (PyObject *)task,
                                                         .arg = exc});
    }
    PyObject *step = direct < 0 ? NULL : task_step_callable(task);
    if (step == NULL) {
        return -1;
    }
    PyObject *stack[4] = {core->loop, step, exc ? exc : task->context, task->context};
    PyObject *handle = PyObject_VectorcallMethod(
        core->st->str_call_soon, stack, (exc ? 3 : 2) | PY_VECTORCALL_ARGUMENTS_OFFSET,
        core->st->context_kwname);
    Py_DECREF(step);
    Py_XDECREF(handle);
    return handle ? 0 : -1;
}

/* Have the next step throw a RuntimeError. Return 0, or -1 with an exception. */
static int
fail_soon(TaskObject *task, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    PyErr_FormatV(PyExc_RuntimeError, format, args);
    va_end(args);
    PyObject *exc = PyErr_GetRaisedException();
    int result = exc ? task_step_soon(task, exc) : -1;
    Py_XDECREF(exc);
    return result;
}

/* ---- awaiting what the coroutine yields ------------------------------------------------------ */

/* Pass a cancellation that came while the task ran on to the future that it has begun to await. Return 0, or -1 with
   an exception. */
static int
pass_cancellation_on(TaskObject *task)
{
    FutureCore *core = &task->core;
    PyObject *message, *waiter;
    Py_BEGIN_CRITICAL_SECTION(task);
    message = Py_NewRef(core->cancel_message ? core->cancel_message : Py_None);
    waiter = Py_NewRef(task->fut_waiter);
    Py_END_CRITICAL_SECTION();
    PyObject *answer = PyObject_CallMethodOneArg(waiter, core->st->str_cancel, message);
    Py_DECREF(waiter);
    Py_DECREF(message);
    int cancelled = answer ? PyObject_IsTrue(answer) : -1;
    Py_XDECREF(answer);
    if (cancelled > 0) {
        shared_store(&task->must_cancel, false);
    }
    return cancelled < 0 ? -1 : 0;
}

/* Note the future that the task has begun to await. Return 0, or -1 with an exception. */
static int
keep_waiter(TaskObject *task, PyObject *future)
{
    bool cancelled;
    Py_BEGIN_CRITICAL_SECTION(task);
    task->fut_waiter = Py_NewRef(future);
    cancelled = task->must_cancel;
    Py_END_CRITICAL_SECTION();
    return cancelled ? pass_cancellation_on(task) : 0;
}

/* Await a native future or task. Return 0, or -1 with an exception. */
static int
await_native(TaskObject *task, PyObject *future, FutureCore *core)
{
    if (core->loop != task->core.loop) {
        return fail_soon(task, "Task %R got Future %R attached to a different loop", task, future);
    }
    if (!shared_load(&core->blocking)) {
        return fail_soon(task, "yield was used instead of yield from in task %R with %R", task,
                         future);
    }
    int result;
    shared_store(&core->blocking, false);
    Py_BEGIN_CRITICAL_SECTION(future);
    result = registry_await_begins_held(core->st, future, (PyObject *)task);
    if (result == 0) {
        result = future_add_waiter_held(core, (PyObject *)task);
    }
    Py_END_CRITICAL_SECTION();
    return result < 0 ? -1 : keep_waiter(task, future);
}

/* Return a new reference to the loop of another library's future; NULL with an exception. */
static PyObject *
loop_of_foreign(fastaio_state *st, PyObject *future)
{
    PyObject *get_loop;
    int found = PyObject_GetOptionalAttr(future, st->str_get_loop, &get_loop);
    if (found < 0) {
        return NULL;
    }
    if (found == 0) {
        return PyObject_GetAttr(future, st->str__loop);
    }
    PyObject *loop = PyObject_CallNoArgs(get_loop);
    Py_DECREF(get_loop);
    return loop;
}

/* Add the task's wake-up to the callbacks of another library's future. Return 0, or -1 with an exception. */
static int
add_wakeup(TaskObject *task, PyObject *future)
{
    PyObject *wakeup = task_wakeup_callable(task);
    if (wakeup == NULL) {
        return -1;
    }
    PyObject *stack[3] = {future, wakeup, task->context};
    PyObject *result = PyObject_VectorcallMethod(task->core.st->str_add_done_callback, stack,
                                                 2 | PY_VECTORCALL_ARGUMENTS_OFFSET,
                                                 task->core.st->context_kwname);
    Py_DECREF(wakeup);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

/* Await an object that is a future by its attribute _asyncio_future_blocking, as documented; `blocking` is
   the truth of that. Return 0, or -1 with an exception. */
static int
await_foreign(TaskObject *task, PyObject *future, int blocking)
{
    fastaio_state *st = task->core.st;
    PyObject *loop = loop_of_foreign(st, future);
    if (loop == NULL) {
        return -1;
    }
    bool same_loop = loop == task->core.loop;
    Py_DECREF(loop);
    if (!same_loop) {
        return fail_soon(task, "Task %R got Future %R attached to a different loop", task, future);
    }
    if (!blocking) {
        return fail_soon(task, "yield was used instead of yield from in task %R with %R", task,
                         future);
    }
    if (PyObject_SetAttr(future, st->str__asyncio_future_blocking, Py_False) < 0
        || registry_await_begins(st, future, (PyObject *)task) < 0
        || add_wakeup(task, future) < 0) {
        return -1;
    }
    return keep_waiter(task, future);
}

/* Await an object of any type that is not native. Return 0, or -1 with an exception. */
static int
await_other(TaskObject *task, PyObject *yielded)
{
    PyObject *blocking;
    int found = PyObject_GetOptionalAttr(yielded, task->core.st->str__asyncio_future_blocking,
                                         &blocking);
    if (found < 0) {
        return -1;
    }
    if (found && blocking != Py_None) {
        int truth = PyObject_IsTrue(blocking);
        Py_DECREF(blocking);
        return truth < 0 ? -1 : await_foreign(task, yielded, truth);
    }
    Py_XDECREF(blocking);
    if (PyObject_TypeCheck(yielded, &PyGen_Type)) {
        return fail_soon(task,
                         "yield was used instead of yield from for generator in task %R with %R",
                         task, yielded);
    }
    return fail_soon(task, "Task got bad yield: %R", yielded);
}

/* Await the object that the coroutine has yielded. Return 0, or -1 with an exception. */
static int
await_yielded(TaskObject *task, PyObject *yielded)
{
    fastaio_state *st = task->core.st;
    if (yielded == Py_None) { /* a bare yield: one turn of the loop */
        return task_step_soon(task, NULL);
    }
    if (yielded == (PyObject *)task) {
        return fail_soon(task, "Task cannot await on itself: %R", task);
    }
    if (Py_IS_TYPE(yielded, st->FutureType)) {
        return await_native(task, yielded, &((FutureObject *)yielded)->core);
    }
    if (Py_IS_TYPE(yielded, st->TaskType) || Py_IS_TYPE(yielded, st->GatheringFutureType)) {
        return await_native(task, yielded, &((FutureObject *)yielded)->core);
    }
    return await_other(task, yielded);
}

/* ---- one step -------------------------------------------------------------------------------- */

/* Do a step of the coroutine. Sets *result as am_send does. */
static PySendResult
send_or_throw(TaskObject *task, PyObject *exc, PyObject **result)
{
    PyObject *coro = Py_NewRef(task->coro);
    PySendResult status;
    PROBE2(task_step_begin, task, coro);
    if (exc == NULL) {
        status = PyIter_Send(coro, Py_None, result);
    }
    else {
        *result = PyObject_CallMethodOneArg(coro, task->core.st->str_throw, exc);
        status = *result ? PYGEN_NEXT : PYGEN_ERROR;
    }
    PROBE2(task_step_end, task, coro);
    coro_end_step(task->core.st);
    Py_DECREF(coro);
    return status;
}

/* Log that a task ends although it was cancelled and nobody called uncancel(). The log gets a str, since a
   record that is kept would keep the task. */
static void
tell_swallowed_cancellation(TaskObject *task)
{
    PyObject *text = PyObject_Repr((PyObject *)task);
    PyObject *logged =
        text ? PyObject_CallMethod(task->core.st->logger, "warning", "sO",
                                   "Task was cancelled, but its coroutine swallowed the "
                                   "cancellation and ended: %s", text)
             : NULL;
    if (logged == NULL) {
        PyErr_WriteUnraisable((PyObject *)task);
    }
    Py_XDECREF(logged);
    Py_XDECREF(text);
}

/* Do what the end of a task asks of its loop, before its callbacks are scheduled. No exception is set. */
static void
end_in_loop(TaskObject *task, bool cancelled)
{
    LoopObject *loop = task->core.native_loop;
    if (loop == NULL) {
        return;
    }
    relaxed_add(&loop->metrics.tasks_ended, 1);
    if (loop->kept_tasks != NULL) {
        PyObject *tasks = Py_NewRef(loop->kept_tasks); /* the task's __hash__() may change the field */
        if (PySet_Discard(tasks, (PyObject *)task) < 0) {
            PyErr_WriteUnraisable((PyObject *)task);
        }
        Py_DECREF(tasks);
    }
    if (GROUP_UNCANCELS && relaxed_load(&loop->watchdog.debug) && shared_load(&task->cancels_requested) > 0
        && !cancelled) {
        tell_swallowed_cancellation(task);
    }
}

/* End the task with the value that its coroutine returned. Return 0, or -1 with an exception. */
static int
finish_with_result(TaskObject *task, PyObject *value)
{
    FutureCore *core = &task->core;
    int result;
    end_in_loop(task, shared_load(&task->must_cancel));
    Py_BEGIN_CRITICAL_SECTION(task);
    if (task->must_cancel) { /* cancelled right before the coroutine ended */
        shared_store(&task->must_cancel, false);
        result = future_cancel_held(core, core->cancel_message) < 0 ? -1 : 0;
    }
    else {
        result = future_set_result_held(core, value);
    }
    Py_END_CRITICAL_SECTION();
    return result;
}

/* End the task with the exception that its coroutine raised. Return 0, or -1 with what leaves the loop. */
static int
finish_with_exception(TaskObject *task)
{
    FutureCore *core = &task->core;
    bool cancelled = PyErr_ExceptionMatches(core->st->CancelledError);
    PyObject *exc = PyErr_GetRaisedException();
    int result;
    end_in_loop(task, cancelled || shared_load(&task->must_cancel));
    if (cancelled) {
        Py_BEGIN_CRITICAL_SECTION(task);
        Py_XSETREF(core->cancelled_exc, exc);
        result = future_cancel_held(core, NULL) < 0 ? -1 : 0;
        Py_END_CRITICAL_SECTION();
        return result;
    }
    result = future_set_exception(core, exc);
    if (result == 0 && exception_leaves_loop(exc)) {
        PyErr_SetRaisedException(exc);
        return -1;
    }
    Py_DECREF(exc);
    return result;
}

/* Note that the task no longer awaits a future. Return 0, or -1 with an exception. */
static int
leave_waiter(TaskObject *task)
{
    if (task->fut_waiter == NULL) { /* only steps write the field */
        return 0;
    }
    PyObject *waiter;
    Py_BEGIN_CRITICAL_SECTION(task);
    waiter = task->fut_waiter;
    task->fut_waiter = NULL;
    Py_END_CRITICAL_SECTION();
    int result = registry_await_ends(task->core.st, waiter, (PyObject *)task);
    Py_DECREF(waiter);
    return result;
}

/* If the task is to be cancelled, replace *exc, which the step is to throw, by a CancelledError. The
   reference in *exc is borrowed before and new afterwards. Return 0, or -1 with an exception. */
static int
apply_must_cancel(TaskObject *task, PyObject **exc)
{
    if (!shared_load(&task->must_cancel)) {
        Py_XINCREF(*exc);
        return 0;
    }
    shared_store(&task->must_cancel, false);
    if (*exc != NULL && PyErr_GivenExceptionMatches(*exc, task->core.st->CancelledError)) {
        Py_INCREF(*exc);
        return 0;
    }
    *exc = future_make_cancelled_error(&task->core);
    return *exc ? 0 : -1;
}

int
task_step(TaskObject *task, PyObject *exc)
{
    FutureCore *core = &task->core;
    if (!future_is_pending(core)) {
        PyErr_Format(core->st->InvalidStateError, "_step(): already done: %R %R", task,
                     exc ? exc : Py_None);
        return -1;
    }
    if (task->coro == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "uninitialized Task object");
        return -1;
    }
    if (apply_must_cancel(task, &exc) < 0) {
        return -1;
    }
    if (leave_waiter(task) < 0) {
        Py_XDECREF(exc);
        return -1;
    }
    PyObject *yielded = NULL;
    PySendResult status = send_or_throw(task, exc, &yielded);
    Py_XDECREF(exc);
    int result;
    if (status == PYGEN_NEXT) {
        result = await_yielded(task, yielded);
    }
    else if (status == PYGEN_RETURN || coro_take_stop(&yielded)) {
        result = finish_with_result(task, yielded);
    }
    else {
        return finish_with_exception(task);
    }
    Py_DECREF(yielded);
    return result;
}

int
task_wakeup(TaskObject *task, PyObject *future)
{
    FutureCore *core = Py_IS_TYPE(future, task->core.st->FutureType)
                           ? &((FutureObject *)future)->core
                           : &((TaskObject *)future)->core;
    if (future_state(core) == FUTURE_FINISHED && core->exception == NULL) {
        return task_step(task, NULL);
    }
    PyObject *exc = NULL;
    if (future_has_failed(core)) {
        exc = future_get_exception(core);
    }
    else {
        future_raise_failure(core); /* pending: initialised again */
    }
    if (exc == NULL) {
        exc = PyErr_GetRaisedException();
    }
    int stepped = task_step(task, exc);
    Py_XDECREF(exc);
    return stepped;
}

/* ---- the end of an entry --------------------------------------------------------------------- */

/* Return true if dropping a reference to the future that woke a task may run code, or drops a reference to
   that task. */
static bool
dropping_runs_code(TaskObject *task, PyObject *future)
{
    if (Py_REFCNT(future) > 1) {
        return false;
    }
    const FutureCore *core = &((FutureObject *)future)->core;
    return !Py_IS_TYPE(future, task->core.st->FutureType) || compat_may_have_attributes(future)
           || !future_core_is_inert(core) || core->result == (PyObject *)task;
}

bool
task_entry_runs_code(const ReadyEntry *entry)
{
    /* With two references, the entry's and that of asyncio's current task, the drop frees the task. */
    return Py_REFCNT(entry->obj) <= 2
           || (entry->arg != NULL && dropping_runs_code((TaskObject *)entry->obj, entry->arg));
}
