/* run.c: running the entries of the ready queue: handles, steps of tasks, callbacks of futures. */
#include "turn/run.h"

#include "base/probe.h"
#include "loop/handle.h"
#include "task/done_callback.h"
#include "task/future.h"
#include "task/task.h"
#include "turn/account.h"
#include "turn/entry_report.h"
#include "turn/view.h"
#include "turn/wait.h"

/* After a part of a batch that took this long, each callback is measured. */
#define HEAVY_NS 4000000
/* So many lighter callbacks in a row end that. */
#define LIGHT_CALLBACKS 256
/* Output that is older than this is sent between two callbacks. */
#define FLUSH_AGE_NS 1000000

/* ---- handles --------------------------------------------------------------------------------- */

/* Do the callback of asyncio.sleep(), a Python function of two lines, in C. Return 1 if that is done, 0 if
   the handle has another callback, or -1 with an exception. */
static int
run_set_result_unless_cancelled(fastaio_state *st, HandleObject *handle)
{
    if (handle->callback != st->set_result_unless_cancelled || handle->arg_count != 2
        || !Py_IS_TYPE(handle->args[0], st->FutureType)) {
        return 0;
    }
    FutureObject *future = (FutureObject *)handle->args[0];
    /* An overridden call_soon(), which gets the future's callbacks, may cancel this very handle. */
    Py_INCREF(future);
    int result = future_set_result_unless_cancelled(&future->core, handle->args[1]) < 0 ? -1 : 1;
    Py_DECREF(future);
    return result;
}

/* The callback and the arguments of a handle that runs: it may cancel this very handle, which drops them. */
typedef struct {
    PyObject *callback;
    PyObject *stack[1 + HANDLE_INLINE_ARGS]; /* the first is free for the callee */
    int count;
    bool packed;
    bool moved; /* the references are the handle's own */
} Call;

/* Take the call of a handle. Where nobody else has the handle its references are moved, not copied: the counts of
   a function that several threads use are slow to change. */
static void
call_take(Call *call, HandleObject *handle)
{
    call->moved = Py_REFCNT(handle) == 1 && handle->weakrefs == NULL && handle->callback != NULL;
    call->count = handle->arg_count;
    call->packed = handle->packed;
    call->callback = handle->callback ? handle->callback : Py_None;
    memcpy(call->stack + 1, handle->args, call->count * sizeof(PyObject *));
    if (call->moved) {
        handle->callback = NULL;
        handle->arg_count = 0;
        return;
    }
    Py_INCREF(call->callback);
    for (int i = 1; i <= call->count; i++) {
        Py_INCREF(call->stack[i]);
    }
}

/* Give back, or drop, what call_take() has taken. */
static void
call_end(Call *call, HandleObject *handle)
{
    /* Who finds the handle by the collector may have changed it. */
    if (call->moved && handle->callback == NULL && handle->arg_count == 0 && !handle->cancelled) {
        handle->callback = call->callback;
        memcpy(handle->args, call->stack + 1, call->count * sizeof(PyObject *));
        handle->arg_count = (uint8_t)call->count;
        return;
    }
    for (int i = 1; i <= call->count; i++) {
        Py_DECREF(call->stack[i]);
    }
    Py_DECREF(call->callback);
}

/* Call a handle's callback in its context, unless it is cancelled. Return 0, or -1 with the callback's
   exception. */
static int
call_in_context(fastaio_state *st, HandleObject *handle)
{
    if (relaxed_load(&handle->cancelled) || handle->context == NULL) {
        return 0;
    }
    int native = run_set_result_unless_cancelled(st, handle);
    if (native) {
        return native < 0 ? -1 : 0;
    }
    Call call;
    call_take(&call, handle);
    PyObject *context = Py_NewRef(handle->context);
    PyObject *result = NULL;
    PROBE1(callback_begin, call.callback);
    if (PyContext_Enter(context) == 0) {
        result = call.packed ? PyObject_Call(call.callback, call.stack[1], NULL)
                             : PyObject_Vectorcall(call.callback, call.stack + 1,
                                                   call.count | PY_VECTORCALL_ARGUMENTS_OFFSET,
                                                   NULL);
        if (PyContext_Exit(context) < 0) {
            Py_CLEAR(result);
        }
    }
    PROBE1(callback_end, call.callback);
    Py_DECREF(context);
    call_end(&call, handle);
    if (result == NULL) {
        return -1;
    }
    Py_DECREF(result);
    return 0;
}

/* Return true if another thread may cancel or run this handle now. The loop does not wait for a cancelled one: its
   callback may have cancelled it, and run on in another thread. */
static bool
handle_is_shared(HandleObject *handle)
{
    /* The loop alone has a handle that nobody else refers to. Without a GIL the count is two words. */
    return handle->guarded && !relaxed_load(&handle->cancelled)
           && (!HAS_GIL || Py_REFCNT(handle) > 1 || handle->weakrefs != NULL);
}

/* ---- entries --------------------------------------------------------------------------------- */

/* Run the next step of a task. The task stays current afterwards, until another entry runs or
   leave_task() is called: a switch between two tasks writes the current task once. */
static int
run_task(LoopObject *loop, ReadyEntry *entry)
{
    TaskObject *task = (TaskObject *)entry->obj;
    if (set_current_task(loop, entry->obj) < 0) {
        return -1;
    }
    PyObject *context = Py_NewRef(task->context);
    if (PyContext_Enter(context) < 0) {
        Py_DECREF(context);
        return -1;
    }
    int result = entry->kind == READY_TASK_STEP ? task_step(task, entry->arg)
                                                : task_wakeup(task, entry->arg);
    if (PyContext_Exit(context) < 0) {
        result = -1;
    }
    Py_DECREF(context);
    return result;
}

/* Make no task current, as on asyncio between two entries. To be called before other code than the next
   entry may run. Keeps a raised exception. */
static void
leave_task(LoopObject *loop)
{
    if (loop->current_task == NULL) {
        return;
    }
    PyObject *raised = PyErr_GetRaisedException();
    if (set_current_task(loop, NULL) < 0) {
        PyErr_WriteUnraisable((PyObject *)loop);
    }
    if (raised != NULL) {
        PyErr_SetRaisedException(raised);
    }
}

/* Call a future's callback in its context. Return 0, or -1 with an exception. */
static int
run_future_callback(LoopObject *loop, ReadyEntry *entry)
{
    if (done_callback_check(loop->st, entry->obj) && !loop_overrides(loop)) {
        int done = done_callback_try(entry->obj, entry->arg);
        if (done != 0) {
            return done < 0 ? -1 : 0;
        }
    }
    if (PyContext_Enter(entry->context) < 0) {
        return -1;
    }
    PyObject *stack[2] = {NULL, entry->arg};
    PROBE1(callback_begin, entry->obj);
    PyObject *result =
        PyObject_Vectorcall(entry->obj, stack + 1, 1 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    PROBE1(callback_end, entry->obj);
    Py_XDECREF(result);
    if (PyContext_Exit(entry->context) < 0) {
        return -1;
    }
    return result ? 0 : -1;
}

/* Handle an event of a transport or the like, natively. Return 0, or -1 with an exception. */
static int
run_native(LoopObject *loop, ReadyEntry *entry)
{
    PROBE1(callback_begin, entry->obj);
    int result = entry->fn(loop, entry->obj);
    PROBE1(callback_end, entry->obj);
    return result;
}

/* Run an entry. Return 0, or -1 with the exception that the callback raised. */
static int
run_entry(LoopObject *loop, ReadyEntry *entry)
{
    switch (entry->kind) {
    case READY_TASK_STEP:
    case READY_TASK_WAKEUP:
        return run_task(loop, entry);
    case READY_FUTURE_CALLBACK:
        return set_current_task(loop, NULL) < 0 ? -1 : run_future_callback(loop, entry);
    case READY_HANDLE:
        return set_current_task(loop, NULL) < 0
                   ? -1
                   : call_in_context(loop->st, (HandleObject *)entry->obj);
    case READY_NATIVE:
        return set_current_task(loop, NULL) < 0 ? -1 : run_native(loop, entry);
    }
    Py_UNREACHABLE();
}

/* Run an entry, report what it raises. Return 0, or -1 with what leaves the loop. */
static inline int
run_and_report(LoopObject *loop, ReadyEntry *entry)
{
    if (run_entry(loop, entry) == 0) {
        return 0;
    }
    leave_task(loop);
    return loop_report_entry(loop, entry);
}

/* Do run_and_report() for a handle that other threads may use. cancel(), cancelled() and _run() there wait
   until the report is over, too: the exception handler runs in the handle's context. */
static int
run_shared_handle(LoopObject *loop, ReadyEntry *entry)
{
    HandleObject *handle = (HandleObject *)entry->obj;
    int entered = handle_enter(handle);
    if (entered < 0) {
        leave_task(loop);
        return loop_report_entry(loop, entry);
    }
    int result = run_and_report(loop, entry);
    if (entered) {
        handle_leave(handle);
    }
    return result;
}

/* Run an entry, report what it raises. Return 0, or -1 with what leaves the loop. */
static inline int
run_reported(LoopObject *loop, ReadyEntry *entry)
{
    bool shared = entry->kind == READY_HANDLE && handle_is_shared((HandleObject *)entry->obj);
    return shared ? run_shared_handle(loop, entry) : run_and_report(loop, entry);
}

/* Run an entry that is timed: the code before and after it may ask for the current task. */
static int
run_reported_and_leave(LoopObject *loop, ReadyEntry *entry)
{
    int result = run_reported(loop, entry);
    leave_task(loop);
    return result;
}

/* Run an entry by a replaced Handle._run. An exception that this lets through leaves the loop. */
static int
run_traced(LoopObject *loop, ReadyEntry *entry)
{
    return set_current_task(loop, NULL) < 0 ? -1 : loop_run_traced(loop, entry);
}

/* Return true for a handle that is cancelled: as on asyncio, it is not even timed. */
static bool
is_cancelled(const ReadyEntry *entry)
{
    return entry->kind == READY_HANDLE && relaxed_load(&((HandleObject *)entry->obj)->cancelled);
}

/* Run an entry that may be timed or traced. Return 0, or -1 with what leaves the loop. */
static int
run_timed_or_traced(LoopObject *loop, ReadyEntry *entry, bool traced)
{
    if (relaxed_load(&loop->watchdog.timed) && !is_cancelled(entry)) {
        return loop_run_timed(loop, entry, traced ? run_traced : run_reported_and_leave);
    }
    return traced ? run_traced(loop, entry) : run_reported(loop, entry);
}

/* Run an entry that is observed or traced. Return 0, or -1 with what leaves the loop. */
static int
run_observed(LoopObject *loop, ReadyEntry *entry, bool traced)
{
    if (!shared_load(&loop->watchdog.accounted)) {
        return run_timed_or_traced(loop, entry, traced);
    }
    AccountMark mark = account_begin(loop, entry);
    int result = run_timed_or_traced(loop, entry, traced);
    account_end(loop, mark);
    return result;
}

/* A part of a batch has ended: count a slow callback, and decide how long the next parts are. Once a part
   takes HEAVY_NS, each callback is measured: beside such callbacks, reading the clock costs nothing. So the
   count is exact unless callbacks have just become heavy: then those of one part may count as one. */
void
run_note_part(LoopObject *loop)
{
    Watchdog *watchdog = &loop->watchdog;
    int64_t spent_ns = loop->clock.now_ns - watchdog->part_ns;
    watchdog->part_ns = loop->clock.now_ns;
    if (spent_ns >= relaxed_load(&watchdog->slow_ns)
        && !relaxed_load(&watchdog->timed)) { /* the timed ones have been counted */
        relaxed_add(&loop->metrics.slow_callbacks, 1);
    }
    if (spent_ns >= HEAVY_NS) {
        watchdog->part_mask = 0;
        watchdog->light_count = 0;
    }
    else if (watchdog->part_mask == 0 && ++watchdog->light_count == LIGHT_CALLBACKS) {
        watchdog->part_mask = LONG_PART - 1;
    }
}

int
run_batch(LoopObject *loop)
{
    size_t count = ready_len(&loop->ready);
    int result = 0;
    bool traced = handle_run_is_replaced(&loop->st->replaced);
    relaxed_add(&loop->metrics.callbacks, count);
    /* A nested run may have taken some of these entries, so the queue may be empty before the count is. */
    while (count-- && ready_len(&loop->ready) && result == 0) {
        ReadyEntry entry = ready_pop(&loop->ready);
        if (relaxed_load(&loop->watchdog.observed) || traced) {
            result = run_observed(loop, &entry, traced);
        }
        else {
            result = run_reported(loop, &entry);
        }
        if (has_stalled(loop)) {
            leave_task(loop);
            loop_end_stall(loop, &entry);
        }
        /* Another task is left over from a nested run within a task of asyncio's own. */
        if (loop->current_task != NULL
            && (loop->current_task != entry.obj || task_entry_runs_code(&entry))) {
            leave_task(loop);
        }
        ready_drop(&entry);
        if (count != 0 && (count & loop->watchdog.part_mask) == 0) {
            clock_refresh(&loop->clock);
            run_note_part(loop);
            if (count % LONG_PART == 0 && gil_is_due(&loop->gil, loop->clock.now_ns)) {
                leave_task(loop);
                let_others_in(loop);
            }
        }
        if (loop->output.first != NULL && result == 0
            && clock_ns() - loop->output.since_ns > FLUSH_AGE_NS) {
            leave_task(loop);
            result = loop_flush_now(loop);
        }
    }
    return result;
}
