/* turn.c: one iteration, top to bottom: send, ask the kernel, fire timers, run what is ready. */
#include "turn/turn.h"

#include "base/bulk.h"
#include "base/error.h"
#include "task/registry.h"
#include "turn/run.h"
#include "turn/wait.h"

/* How often memory that a burst took is given back. */
#define GIVE_BACK_NS 100000000

/* There is work, and nothing else to look after: no output, no timer, no reason to ask the kernel. */
static inline bool
only_computes(LoopObject *loop)
{
    return ready_len(&loop->ready) && !loop->wait.io_happened && !loop->wait.answering
           && loop->output.first == NULL
           && timers_count(&loop->timers) == 0
           && loop->clock.now_ns < loop->wait.poll_due_ns;
}

/* Give back the memory that a burst took. A steady load that lets its queues run empty grows them anew
   at most once per GIVE_BACK_NS. */
static inline void
give_back(LoopObject *loop)
{
    size_t capacities = loop->ready.capacity | timers_capacities(&loop->timers);
    if (capacities < 2 * BULK_KEPT_COUNT /* all are powers of two */
        || loop->clock.now_ns - loop->gave_back_ns < GIVE_BACK_NS) {
        return;
    }
    ready_shrink(&loop->ready);
    timers_shrink(&loop->timers);
    if ((loop->ready.capacity | timers_capacities(&loop->timers)) != capacities) {
        loop->gave_back_ns = loop->clock.now_ns;
    }
}

/* Send queued output, then move I/O events and due timers into the ready queue. */
static int
collect(LoopObject *loop)
{
    if (set_current_task(loop, NULL) < 0) {
        return -1;
    }
    give_back(loop);
    if (loop->output.first != NULL && loop_flush_now(loop) < 0) {
        return -1;
    }
    timers_prune(&loop->timers);
    if (poll_if_due(loop) < 0) {
        return -1;
    }
    return fire_timers(loop);
}

/* Blocks where nothing is ready. 0, or -1 with what leaves the loop. */
static int
turn(LoopObject *loop)
{
    if (!only_computes(loop) && collect(loop) < 0) {
        return -1;
    }
    int64_t begin = loop->clock.now_ns;
    int result = run_batch(loop);
    clock_refresh(&loop->clock);
    loop->metrics.iterations++;
    metrics_turn(&loop->metrics, loop->clock.now_ns - begin);
    return result;
}

/* No task is current where turns begin. *outer_task: the current one of a turn that these turns are
   nested in, whatever made it current, or NULL. */
static int
enter_turns(LoopObject *loop, PyObject **outer_task)
{
    *outer_task = NULL;
    return loop->run_count == 0
               ? set_current_task(loop, NULL)
               : registry_swap_current(loop->st, (PyObject *)loop, NULL, outer_task);
}

static void
leave_turns(LoopObject *loop, PyObject *outer_task, PyObject **error)
{
    int left = outer_task == NULL
                   ? set_current_task(loop, NULL)
                   : registry_swap_current(loop->st, (PyObject *)loop, outer_task, NULL);
    if (left < 0) {
        keep_first(error, NULL);
    }
    Py_XDECREF(outer_task);
}

int
loop_run_once(LoopObject *loop)
{
    PyObject *outer_task;
    if (enter_turns(loop, &outer_task) < 0) {
        return -1;
    }
    loop_io_happened(loop); /* it polls */
    PyObject *error = turn(loop) < 0 ? PyErr_GetRaisedException() : NULL;
    leave_turns(loop, outer_task, &error);
    if (error != NULL) {
        PyErr_SetRaisedException(error);
        return -1;
    }
    return 0;
}

/* What is queued may be garbage once the loop stands still. */
static void
track_handles(LoopObject *loop)
{
    ReadyQueue *ready = &loop->ready;
    for (size_t i = ready->head; i != ready->tail; i++) {
        ReadyEntry *entry = ready_at(ready, i);
        if (entry->kind == READY_HANDLE) {
            handle_track(entry->obj);
        }
    }
    timers_track(&loop->timers);
}

/* What is in flight on a ring does not outlast the run. */
static void
end_run(LoopObject *loop)
{
    Poller *poller = loop->poller;
    if (poller != NULL && poller->methods->stopped != NULL && !loop_is_copy(loop)) {
        Py_BEGIN_ALLOW_THREADS
        poller->methods->stopped(poller);
        Py_END_ALLOW_THREADS
    }
}

/* A turn of a loop whose _run_once() is another one. */
static int
call_run_once(LoopObject *loop)
{
    if (set_current_task(loop, NULL) < 0) {
        return -1;
    }
    return drop_result(PyObject_CallMethodNoArgs((PyObject *)loop, loop->st->str__run_once));
}

int
loop_run(LoopObject *loop)
{
    int result;
    PyObject *outer_task;
    if (enter_turns(loop, &outer_task) < 0) {
        return -1;
    }
    loop->run_count++;
    clock_read(&loop->clock);
    gil_was_released(&loop->gil, loop->clock.now_ns);
    loop->wait.io_happened = true; /* the first turn polls */
    spin_start_run(&loop->wait.spin);
    do {
        result = loop_overrides(loop) & OVERRIDE_RUN_ONCE ? call_run_once(loop) : turn(loop);
    } while (result == 0 && !loop->stopping);
    PyObject *error = result < 0 ? PyErr_GetRaisedException() : NULL;
    if (loop_flush_now(loop) < 0) {
        keep_first(&error, NULL);
    }
    leave_turns(loop, outer_task, &error);
    if (--loop->run_count == 0) {
        ready_shrink(&loop->ready);
        timers_shrink(&loop->timers);
        track_handles(loop);
    }
    end_run(loop);
    if (error != NULL) {
        PyErr_SetRaisedException(error);
        return -1;
    }
    return 0;
}
