/* task_start.c: making a task, and its first step. */
#include "task/task_start.h"

#include "base/probe.h"
#include "loop/loop.h"
#include "task/base_fields.h"
#include "task/coro.h"
#include "task/future.h"
#include "task/registry.h"
#include "task/task.h"

/* ---- fields ---------------------------------------------------------------------------------- */

#ifdef Py_GIL_DISABLED

#define NUMBERS_AT_MOST 256u /* so many numbers a loop takes from the counter at once */

/* Return the number of a new task. A loop takes more from the counter each time. So loops that make few tasks
   number them nearly in the order of their creation, and one loop alone does it exactly. */
static uint64_t
take_number(TaskObject *task, uint64_t *counter)
{
    LoopObject *loop = (LoopObject *)task->core.loop;
    if (!loop_is_native(task->core.st, (PyObject *)loop) || !claim_is_mine(&loop->claim)) {
        return shared_add(counter, 1);
    }
    TaskNumbers *numbers = &loop->numbers;
    if (numbers->left == 0) {
        numbers->size = Py_MIN(numbers->size * 2 + 1, NUMBERS_AT_MOST);
        numbers->left = numbers->size;
        numbers->next = shared_add(counter, numbers->size) - numbers->size + 1;
    }
    numbers->left--;
    return numbers->next++;
}

#else

#define take_number(task, counter) (++*(counter))

#endif

/* Set the name, None or NULL: a number. Return 0, or -1 with an exception. */
static int
set_name(TaskObject *task, PyObject *name)
{
    fastaio_state *st = task->core.st;
    if (name == NULL || name == Py_None) {
        uint64_t *numbers = shared_load(&st->task_numbers);
        if (numbers == NULL) {
            if (registry_prepare(st) < 0) {
                return -1;
            }
            numbers = shared_load(&st->task_numbers);
        }
        /* Without a counter: another thread is about to prepare. */
        task->number = take_number(task, numbers ? numbers : &st->own_task_numbers);
        Py_CLEAR(task->name); /* of an earlier __init__() */
        return 0;
    }
    PyObject *text = PyUnicode_CheckExact(name) ? Py_NewRef(name) : PyObject_Str(name);
    if (text == NULL) {
        return -1;
    }
    Py_XSETREF(task->name, text);
    return 0;
}

/* Return 0, or -1 with an exception: TypeError if `coro` is no coroutine. */
static int
check_coroutine(TaskObject *task, PyObject *coro)
{
    if (coro_check(coro)) {
        return 0;
    }
    PyObject *answer = PyObject_CallOneArg(task->core.st->iscoroutine, coro);
    int is_coroutine = answer ? PyObject_IsTrue(answer) : -1;
    Py_XDECREF(answer);
    if (is_coroutine > 0) {
        return 0;
    }
    if (is_coroutine == 0) {
        PyErr_Format(PyExc_TypeError, "a coroutine was expected, got %R", coro);
    }
    return -1;
}

/* Raise TypeError for what is no Context. Releases that refuse it know the format %T. Return -1. */
static int
refuse_context(PyObject *object)
{
    PyErr_Format(PyExc_TypeError, "a contextvars.Context was expected, got %T", object);
    return -1;
}

/* Set all fields but the core. Return 0, or -1 with an exception. */
static int
set_fields(TaskObject *task, PyObject *coro, PyObject *name, PyObject *context)
{
    task->log_destroy_pending = false;
    task->must_cancel = false;
    task->cancels_requested = 0;
    if (check_coroutine(task, coro) < 0) {
        return -1;
    }
    if (context != NULL && context != Py_None && !PyContext_CheckExact(context)
        && task->core.st->traits.task_checks_context) {
        return refuse_context(context);
    }
    context = context == NULL || context == Py_None ? PyContext_CopyCurrent()
                                                    : Py_NewRef(context);
    if (context == NULL) {
        return -1;
    }
    Py_XSETREF(task->context, context);
    Py_CLEAR(task->fut_waiter);
    Py_XSETREF(task->coro, Py_NewRef(coro));
    PROBE2(task_new, task, coro);
    task->log_destroy_pending = true;
    return set_name(task, name);
}

/* ---- the first step -------------------------------------------------------------------------- */

/* Do the first step now, as the current task. Return 0, or -1 with an exception. */
static int
start_eagerly(TaskObject *task)
{
    fastaio_state *st = task->core.st;
    PyObject *self = (PyObject *)task, *previous;
    if (registry_swap_current(st, task->core.loop, self, &previous) < 0) {
        return -1;
    }
    /* The coroutine may call its own task's __init__. */
    PyObject *loop = Py_NewRef(task->core.loop), *context = Py_NewRef(task->context);
    int result = registry_add(task);
    if (result == 0 && (result = PyContext_Enter(context)) == 0) {
        result = task_step(task, NULL);
        PyObject *error = result < 0 ? PyErr_GetRaisedException() : NULL;
        if (PyContext_Exit(context) < 0) {
            Py_XDECREF(error);
            error = NULL;
            result = -1;
        }
        if (error != NULL) {
            PyErr_SetRaisedException(error);
        }
    }
    PyObject *error = result < 0 ? PyErr_GetRaisedException() : NULL;
    if (registry_swap_current(st, loop, previous, NULL) < 0) {
        result = -1;
        Py_CLEAR(error);
    }
    if (error != NULL) {
        PyErr_SetRaisedException(error);
    }
    Py_XDECREF(previous);
    Py_DECREF(context);
    Py_DECREF(loop);
    if (!future_is_pending(&task->core)) {
        Py_BEGIN_CRITICAL_SECTION(task);
        Py_CLEAR(task->coro);
        Py_END_CRITICAL_SECTION();
    }
    return result;
}

/* Return 1 if the loop of a future or task runs, 0, or -1 with an exception. */
static int
has_running_loop(FutureCore *core)
{
    if (core->native_loop != NULL && !loop_overrides(core->native_loop)) {
        return relaxed_load(&core->native_loop->thread_id) != 0;
    }
    PyObject *answer = PyObject_CallMethodNoArgs(core->loop, core->st->str_is_running);
    int running = answer ? PyObject_IsTrue(answer) : -1;
    Py_XDECREF(answer);
    return running;
}

/* Have the loop keep a pending task alive, if it keeps its tasks. Return 0, or -1 with an exception. */
static int
keep_alive(TaskObject *task)
{
    LoopObject *loop = task->core.native_loop;
    if (loop == NULL || loop->kept_tasks == NULL || !future_is_pending(&task->core)) {
        return 0;
    }
    PyObject *tasks = Py_NewRef(loop->kept_tasks); /* the task's __hash__() may change the field */
    int result = PySet_Add(tasks, (PyObject *)task);
    Py_DECREF(tasks);
    return result;
}

/* Start a task whose fields are set, by a thread that has claimed its loop. Return 0, or -1 with an exception. */
static int
start_in_loop(TaskObject *task, bool eager)
{
    if (task->core.native_loop != NULL) {
        relaxed_add(&task->core.native_loop->metrics.tasks_started, 1);
    }
    if (eager) {
        int running = has_running_loop(&task->core);
        if (running) {
            if (running < 0) {
                return -1;
            }
            if (start_eagerly(task) < 0) {
                task->log_destroy_pending &= !task->core.st->traits.failed_start_is_silent;
                return -1;
            }
            return keep_alive(task);
        }
    }
    return task_step_soon(task, NULL) < 0 || registry_add(task) < 0 ? -1 : keep_alive(task);
}

int
task_start(TaskObject *task, fastaio_state *st, PyObject *loop, PyObject *coro, PyObject *name,
           PyObject *context, bool eager)
{
    if (future_core_init(&task->core, st, loop) < 0 || set_fields(task, coro, name, context) < 0) {
        return -1;
    }
    LoopObject *native_loop = task->core.native_loop;
    if (native_loop != NULL && claim_begin(&native_loop->claim) < 0) {
        return -1;
    }
    int result = start_in_loop(task, eager);
    if (native_loop != NULL) {
        claim_end(&native_loop->claim);
    }
    return result;
}

PyObject *
task_new(LoopObject *loop, PyObject *coro, PyObject *name, PyObject *context, bool eager)
{
    fastaio_state *st = loop->st;
    TaskObject *task = (TaskObject *)pool_alloc(&st->task_pool, st->TaskType);
    if (task != NULL && task_start(task, st, (PyObject *)loop, coro, name, context, eager) < 0) {
        Py_CLEAR(task);
    }
    return (PyObject *)task;
}

/* Rename a task that has been started. Return 0, or -1 with an exception. */
static int
rename_task(TaskObject *task, PyObject *name)
{
    PyObject *text = PyUnicode_CheckExact(name) ? Py_NewRef(name) : PyObject_Str(name);
    if (text == NULL) {
        return -1;
    }
    int result;
    Py_BEGIN_CRITICAL_SECTION(task);
    Py_XSETREF(task->name, text);
    task->number = 0;
    result = base_fields_set_name(task);
    Py_END_CRITICAL_SECTION();
    return result;
}

PyObject *
task_new_eagerly(LoopObject *loop, PyObject *coro, PyObject *name, PyObject *context)
{
    const Traits *traits = &loop->st->traits;
    if (traits->factory_gets_name) {
        return task_new(loop, coro, name, context, true);
    }
    /* asyncio names the task once the factory has returned it. */
    PyObject *task = task_new(loop, coro, NULL, context, true);
    if (name == NULL || name == Py_None) {
        name = traits->factory_task_always_named ? loop->st->str_None : NULL;
    }
    if (task != NULL && name != NULL && rename_task((TaskObject *)task, name) < 0) {
        Py_CLEAR(task);
    }
    return task;
}
