/* turn.c: one iteration ("turn") from top to bottom, and a run: turns until stop().
 *
 * A turn sends queued output, polls if there is a reason, queues reported events and due timers, and
 * runs exactly what is queued then. wait.c polls and fires timers; run.c runs entries.
 */
#include "turn/turn.h"

#include "base/bulk.h"
#include "base/error.h"
#include "task/registry.h"
#include "turn/entry_report.h"
#include "turn/run.h"
#include "turn/wait.h"

/* Memory that a burst took is given back at most this often. */
#define GIVE_BACK_NS 100000000

/* ---- one turn -------------------------------------------------------------------------------- */

/* Return true if the turn only has to run entries: no output, no timer, no reason to poll. */
static inline bool
only_computes(LoopObject *loop)
{
    return ready_len(&loop->ready) && !loop->wait.io_happened && !loop->wait.answering
           && loop->output.first == NULL
           && timers_count(&loop->timers) == 0
           && loop->clock.now_ns < loop->wait.poll_due_ns;
}

/* Give back the memory that a burst took. A steady load that empties its queues again and again grows
   them at most once per GIVE_BACK_NS. */
static inline void
give_back(LoopObject *loop)
{
    size_t capacities = loop->ready.capacity | timers_capacities(&loop->timers);
    if (capacities < 2 * BULK_KEPT_CAPACITY /* all are powers of two */
        || loop->clock.now_ns - loop->gave_back_ns < GIVE_BACK_NS) {
        return;
    }
    ready_shrink(&loop->ready);
    timers_shrink(&loop->timers);
    if ((loop->ready.capacity | timers_capacities(&loop->timers)) != capacities) {
        loop->gave_back_ns = loop->clock.now_ns;
    }
}

/* Send queued output, then move I/O events and due timers into the ready queue. No task is current
   meanwhile. Return 0, or -1 with what leaves the loop. */
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
    if (has_stalled(loop)) { /* a callback of a transport, or the GIL came late */
        loop_end_stall(loop, NULL);
    }
    return fire_timers(loop);
}

/* Do one turn. Blocks if nothing is ready. Return 0, or -1 with what leaves the loop. */
static int
turn(LoopObject *loop)
{
    if (loop_collect_inbox(loop) < 0) {
        return -1;
    }
    if (!only_computes(loop) && collect(loop) < 0) {
        return -1;
    }
    int64_t begin = loop->clock.now_ns;
    loop->watchdog.part_ns = begin;
    int result = run_batch(loop);
    clock_refresh(&loop->clock);
    relaxed_add(&loop->metrics.iterations, 1);
    if (metrics_turn(&loop->metrics, loop->clock.now_ns - begin)) {
        run_note_part(loop);
    }
    return result;
}

/* ---- runs ------------------------------------------------------------------------------------ */

/* Make no task current before a run or a single turn. If that is nested in another run, set *outer_task to
   the task that is current there, else to NULL. Return 0, or -1 with an exception. */
static int
enter_turns(LoopObject *loop, PyObject **outer_task)
{
    *outer_task = NULL;
    loop->current_field = NULL; /* in a nested run this thread may be another than the outer run's */
    return loop->run_count == 0
               ? set_current_task(loop, NULL)
               : registry_swap_current(loop->st, (PyObject *)loop, NULL, outer_task);
}

/* Undo enter_turns() and drop outer_task. An exception becomes *error unless there is one. */
static void
leave_turns(LoopObject *loop, PyObject *outer_task, PyObject **error)
{
    int left = outer_task == NULL
                   ? set_current_task(loop, NULL)
                   : registry_swap_current(loop->st, (PyObject *)loop, outer_task, NULL);
    if (left < 0) {
        keep_first(error, NULL);
    }
    loop->current_field = NULL; /* this thread may end before the next turn */
    Py_XDECREF(outer_task);
}

int
loop_run_once(LoopObject *loop)
{
    PyObject *outer_task;
    if (enter_turns(loop, &outer_task) < 0) {
        return -1;
    }
    loop_io_happened(loop); /* a single turn always polls */
    PyObject *error = turn(loop) < 0 ? PyErr_GetRaisedException() : NULL;
    leave_turns(loop, outer_task, &error);
    if (error != NULL) {
        PyErr_SetRaisedException(error);
        return -1;
    }
    return 0;
}

/* Track the queued handles: when no run is left, they may be garbage (handle_object.h). */
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

/* Let the poller end operations in flight: another thread may run or close the loop next. */
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

/* Do a turn of a loop whose _run_once() is replaced. Return 0, or -1 with what leaves the loop. */
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
    gil_note_release(&loop->gil, loop->clock.now_ns);
    loop_io_happened(loop); /* the first turn polls */
    spin_start_run(&loop->wait.spin);
    recorder_begin(&loop->stall);
    do {
        result = loop_overrides(loop) & OVERRIDE_RUN_ONCE ? call_run_once(loop) : turn(loop);
    } while (result == 0 && !relaxed_load(&loop->stopping));
    PyObject *error = result < 0 ? PyErr_GetRaisedException() : NULL;
    if (loop_flush_now(loop) < 0) {
        keep_first(&error, NULL);
    }
    leave_turns(loop, outer_task, &error);
    if (--loop->run_count == 0) {
        recorder_end(&loop->stall);
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
