/* taskgroup.c: TaskGroup.
 *
 * Native is what a group does whose tasks succeed. Errors, cancellations and other loops are left to asyncio's
 * own methods, which work on the same fields. So they are exactly those of the running version.
 */
#include "primitives/taskgroup.h"

#include "base/args.h"
#include "base/asyncio_versions.h"
#include "base/error.h"
#include "base/traits.h"
#include "primitives/children.h"
#include "primitives/op.h"
#include "primitives/running.h"
#include "primitives/waiter.h"
#include "task/done_callback.h"
#include "task/future_callbacks.h"
#include "task/task_start.h"

/* asyncio's attributes: X(field); `_<field>` is the attribute's name. */
#define GROUP_FIELDS_OF_ALL(X)                                                                     \
    X(entered) X(exiting) X(aborting) X(parent_task) X(parent_cancel_requested) X(tasks)           \
    X(errors) X(base_error) X(on_completed_fut)
#if GROUP_HAS_CANCEL
#define GROUP_FIELDS(X) GROUP_FIELDS_OF_ALL(X) X(cancel_on_enter)
#else
#define GROUP_FIELDS(X) GROUP_FIELDS_OF_ALL(X)
#endif

typedef struct {
    BoundObject bound;
#define X(field) PyObject *field;
    GROUP_FIELDS(X)
#undef X
} GroupObject;

static inline bool
is_plain(fastaio_state *st, PyObject *self)
{
    return primitive_is_plain(&st->primitives->TaskGroup, self);
}

/* Return true for an exact set that is empty. */
static inline bool
is_empty_set(PyObject *tasks)
{
    return tasks != NULL && PySet_CheckExact(tasks) && PySet_GET_SIZE(tasks) == 0;
}

/* ---- the end of a task ----------------------------------------------------------------------- */

/* Do asyncio's _on_task_done(). Return 1, or -1 with an exception. */
static int
leave_task_to_asyncio(fastaio_state *st, PyObject *self, PyObject *task)
{
    PyObject *result =
        primitive_base_call(&st->primitives->TaskGroup, self, "_on_task_done", &task, 1, NULL);
    return drop_result(result) < 0 ? -1 : 1;
}

/* Let __aexit__() go on if the last task is done. Return 0, or -1 with an exception. */
static int
wake_exit(fastaio_state *st, GroupObject *group)
{
    PyObject *waiter = group->on_completed_fut;
    if (waiter == NULL || waiter == Py_None || !is_empty_set(group->tasks)) {
        return 0;
    }
    Py_INCREF(waiter);
    int woken = waiter_wake(st, waiter, Py_True);
    Py_DECREF(waiter);
    return woken < 0 ? -1 : 0;
}

/* Do the callback of a native task within the critical section of the group. Return 1, 0 if it is asyncio's to do, or
   -1 with an exception. */
static int
task_done_held(PyObject *self, FutureCore *task)
{
    PyObject *object = future_object(task);
    GroupObject *group = (GroupObject *)self;
    fastaio_state *st = task->st;
    uint8_t state = future_state(task);
    bool succeeded = state == FUTURE_FINISHED && task->exception == NULL;
    if (!(succeeded || state == FUTURE_CANCELLED) || !is_plain(st, self)
        || group->tasks == NULL || !PySet_CheckExact(group->tasks)) {
        return 0;
    }
    /* The callback's entry in the loop's queue has a reference to the task: the set's is not the last one. */
    PyObject *tasks = Py_NewRef(group->tasks); /* __hash__() of another library's task may change the field */
    int discarded = PySet_Discard(tasks, object);
    Py_DECREF(tasks);
    if (discarded < 0) {
        return -1;
    }
    PyObject *parent = Py_XNewRef(group->parent_task);
    int result = 0;
    if (parent != NULL && parent != Py_None) {
        result = registry_await_ends(st, object, parent);
    }
    Py_XDECREF(parent);
    return result < 0 || wake_exit(st, group) < 0 ? -1 : 1;
}

/* The callback of a native task. */
static int
task_done(DoneCallback *callback, FutureCore *task, bool in_context)
{
    int done;
    Py_BEGIN_CRITICAL_SECTION(callback->self);
    done = task_done_held(callback->self, task);
    Py_END_CRITICAL_SECTION();
    return done != 0 || !in_context
               ? done
               : leave_task_to_asyncio(task->st, callback->self, future_object(task));
}

static const DoneCallbackSpec task_done_spec = {"TaskGroup._on_task_done", task_done, NULL};

/* ---- create_task() --------------------------------------------------------------------------- */

/* Return the group's loop, if the group takes tasks and the loop makes native ones; else NULL, without an
   exception. */
static LoopObject *
loop_of_tasks(fastaio_state *st, GroupObject *group)
{
    PyObject *loop = group->bound.loop;
    if (group->entered != Py_True || group->aborting != Py_False || loop == NULL
        || group->tasks == NULL || !PySet_CheckExact(group->tasks)
        || !(group->exiting == Py_False || PySet_GET_SIZE(group->tasks) > 0)
        || group->parent_task == NULL || group->parent_task == Py_None
        || !loop_is_native(st, loop)) {
        return NULL;
    }
    LoopObject *native = (LoopObject *)loop;
    bool makes_native = native->task_factory == NULL && !relaxed_load(&native->closed)
                        && !(loop_overrides(native) & OVERRIDE_CREATE_TASK);
    return makes_native && is_plain(st, (PyObject *)group) ? native : NULL;
}

/* Return true for arguments whose use runs no code. */
static inline bool
are_plain_arguments(PyObject *name, PyObject *context)
{
    return (name == NULL || name == Py_None || PyUnicode_CheckExact(name))
           && (context == NULL || context == Py_None || PyContext_CheckExact(context));
}

/* Add a new task to the group's set of tasks. Return 0, or -1 with an exception. */
static int
add_task(fastaio_state *st, GroupObject *group, PyObject *tasks, PyObject *parent, PyObject *task)
{
    FutureCore *core = child_core(task);
    DoneCallback *callback = NULL;
    PyObject *context = NULL;
    int result = -1;
    if (registry_await_begins(st, task, parent) < 0 || PySet_Add(tasks, task) < 0) {
        return -1;
    }
    if ((callback = done_callback_new(st, &task_done_spec, (PyObject *)group, NULL)) != NULL
        && (context = PyContext_CopyCurrent()) != NULL) {
        result = future_add_callback(core, (PyObject *)callback, context);
    }
    Py_XDECREF(callback);
    Py_XDECREF(context);
    return result;
}

PyDoc_STRVAR(create_task_doc, "create_task($self, coro, **kwargs)\n--\n\n"
"Make a task of the group, and return it. The arguments are those of asyncio.create_task().\n\n"
"Raises RuntimeError if the group has not been entered, is finished or is shutting down.");

static PyObject *
group_create_task(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    GroupObject *group = (GroupObject *)self;
    fastaio_state *st = primitive_state(self);
    if (st == NULL) {
        return NULL;
    }
    PyObject *name = NULL, *context = NULL;
    LoopObject *loop = count == 1 ? loop_of_tasks(st, group) : NULL;
    for (Py_ssize_t i = 0; loop != NULL && keywords != NULL && i < PyTuple_GET_SIZE(keywords); i++) {
        PyObject *keyword = PyTuple_GET_ITEM(keywords, i);
        if (PyUnicode_Compare(keyword, st->str_name) == 0) {
            name = args[1 + i];
        }
        else if (PyUnicode_Compare(keyword, st->str_context) == 0) {
            context = args[1 + i];
        }
        else {
            loop = NULL;
        }
    }
    if (loop == NULL || !are_plain_arguments(name, context)) {
        return primitive_base_call(&st->primitives->TaskGroup, self, "create_task", args, count,
                                   keywords);
    }
    /* Own references: making objects may start the collector, which runs code. */
    PyObject *tasks = Py_NewRef(group->tasks), *parent = Py_NewRef(group->parent_task);
    Py_INCREF(loop);
    PyObject *task = task_new(loop, args[0], name, context, false);
    Py_DECREF(loop);
    if (task != NULL && add_task(st, group, tasks, parent, task) < 0) {
        Py_CLEAR(task);
    }
    Py_DECREF(parent);
    Py_DECREF(tasks);
    return task;
}

/* ---- async with ------------------------------------------------------------------------------ */

/* Await a coroutine of asyncio's class: self.<name>(*args). `stage` tells resume that its value is the Op's. */
static Outcome
leave_to_asyncio(Op *op, const char *name, PyObject *type, PyObject *exc, PyObject *tb)
{
    PyObject *const args[] = {type, exc, tb};
    PyObject *coro = primitive_base_call(&op->st->primitives->TaskGroup, op->self, name, args,
                                         type == NULL ? 0 : 3, NULL);
    Outcome outcome = coro ? op_await(op, coro) : FAILED;
    Py_XDECREF(coro);
    op->stage = 1;
    return outcome;
}

/* Enter the group. Return DONE, WAIT if that is asyncio's to do, or FAILED. */
static Outcome
enter(Op *op)
{
    GroupObject *group = (GroupObject *)op->self;
    if (!is_plain(op->st, op->self) || group->entered != Py_False || group->bound.loop != Py_None) {
        return WAIT;
    }
#if GROUP_HAS_CANCEL
    if (group->cancel_on_enter != Py_False) {
        return WAIT;
    }
#endif
    PyObject *loop = running_loop(op->st);
    if (loop == NULL) {
        return FAILED;
    }
    PyObject *parent = PyObject_CallOneArg(op->st->current_task, loop);
    Outcome outcome = parent == NULL ? FAILED : parent == Py_None ? WAIT : DONE;
    if (outcome == DONE) {
        primitive_set(&group->bound.loop, loop);
        primitive_set(&group->parent_task, parent);
        primitive_set(&group->entered, Py_True);
    }
    Py_XDECREF(parent);
    Py_DECREF(loop);
    return outcome;
}

static Outcome
start_aenter(Op *op, PyObject **result)
{
    Outcome outcome = enter(op);
    *result = outcome == DONE ? Py_NewRef(op->self) : NULL;
    return outcome == WAIT ? leave_to_asyncio(op, "__aenter__", NULL, NULL, NULL) : outcome;
}

static Outcome
resume_with_value(Op *Py_UNUSED(op), PyObject *value, PyObject **result)
{
    *result = value;
    return value ? DONE : FAILED;
}

static const OpSpec aenter_spec = {OP_KIND("TaskGroup"), "__aenter__", start_aenter,
                                   resume_with_value};

static PyObject *
group_aenter(fastaio_state *st, PyObject *self, PyObject *const *Py_UNUSED(args), Py_ssize_t count,
             PyObject *keywords)
{
    return op_without_arguments(st, &aenter_spec, self, count, keywords);
}

/* Drop what asyncio's __aexit__() drops at its end. */
static void
drop_references(fastaio_state *st, GroupObject *group)
{
    if (st->primitives->group_drops_references) {
        primitive_set(&group->parent_task, Py_None);
        primitive_set(&group->errors, Py_None);
        primitive_set(&group->base_error, Py_None);
    }
}

/* Return true if nothing has failed, and no method but ours has waited. */
static bool
is_clean(const GroupObject *group)
{
    return group->errors != NULL && PyList_CheckExact(group->errors)
           && PyList_GET_SIZE(group->errors) == 0 && group->base_error == Py_None
           && group->aborting == Py_False && group->parent_cancel_requested == Py_False
           && group->on_completed_fut == Py_None && group->tasks != NULL
           && PySet_CheckExact(group->tasks) && group->bound.loop != NULL;
}

/* Let asyncio's __aexit__() do the rest, as if the wait had ended without an exception. */
static Outcome
leave_rest_to_asyncio(Op *op)
{
    if (op->st->primitives->group_uncancels_first) {
        /* That part of __aexit__() was over before the wait. */
        primitive_set(&((GroupObject *)op->self)->parent_cancel_requested, Py_False);
    }
    return leave_to_asyncio(op, "__aexit__", Py_None, Py_None, Py_None);
}

/* Wait until there is no task; then end. */
static Outcome
wait_or_end(Op *op, PyObject **result)
{
    GroupObject *group = (GroupObject *)op->self;
    if (!is_clean(group)) {
        return leave_rest_to_asyncio(op);
    }
    if (PySet_GET_SIZE(group->tasks) > 0) {
        PyObject *waiter = waiter_new(op->st, group->bound.loop);
        if (waiter == NULL) {
            return FAILED;
        }
        Py_XSETREF(group->on_completed_fut, waiter);
        return op_await(op, waiter);
    }
    drop_references(op->st, group);
    *result = Py_NewRef(GROUP_HAS_CANCEL ? Py_True : Py_None);
    return DONE;
}

/* Op.extra: the exception's class, Op.saved: the exception; Op.waiter: its traceback. */
static Outcome
start_aexit(Op *op, PyObject **result)
{
    GroupObject *group = (GroupObject *)op->self;
    *result = NULL;
    if (op->extra != Py_None || op->saved != Py_None || !is_plain(op->st, op->self)
        || !is_clean(group)) {
        return leave_to_asyncio(op, "__aexit__", op->extra, op->saved, op->waiter);
    }
    primitive_set(&group->exiting, Py_True);
    return wait_or_end(op, result);
}

/* Go on after a wait that has raised. */
static Outcome
fail_aexit(Op *op)
{
    GroupObject *group = (GroupObject *)op->self;
    PyObject *exc = PyErr_GetRaisedException();
    if (!PyErr_GivenExceptionMatches(exc, op->st->CancelledError)) {
        drop_references(op->st, group);
        PyErr_SetRaisedException(exc);
        return FAILED;
    }
    primitive_set(&group->on_completed_fut, Py_None);
    /* A cancellation of the group that aborts changes nothing, up to 3.14. Any other is handled like one that
       the body of `async with` has raised. */
    bool ignored = group->aborting == Py_True && !GROUP_HAS_CANCEL;
    Outcome outcome =
        ignored ? leave_rest_to_asyncio(op)
                : leave_to_asyncio(op, "__aexit__", op->st->CancelledError, exc, Py_None);
    Py_DECREF(exc);
    return outcome;
}

static Outcome
resume_aexit(Op *op, PyObject *value, PyObject **result)
{
    if (op->stage != 0) {
        return resume_with_value(op, value, result);
    }
    if (value == NULL) {
        return fail_aexit(op);
    }
    Py_DECREF(value);
    primitive_set(&((GroupObject *)op->self)->on_completed_fut, Py_None);
    return wait_or_end(op, result);
}

static const OpSpec aexit_spec = {OP_KIND("TaskGroup"), "__aexit__", start_aexit, resume_aexit};

static PyObject *
group_aexit(fastaio_state *st, PyObject *self, PyObject *const *args, Py_ssize_t count,
            PyObject *keywords)
{
    PyObject *type = count > 0 ? args[0] : NULL, *exc = count > 1 ? args[1] : NULL;
    PyObject *tb = count > 2 ? args[2] : NULL;
    const NamedArgument known[] = {{"et", &type}, {"exc", &exc}, {"tb", &tb}, {NULL, NULL}};
    if (parse_keywords("TaskGroup.__aexit__", known, keywords, args + count) < 0) {
        return NULL;
    }
    if (count > 3 || type == NULL || exc == NULL || tb == NULL) {
        PyErr_SetString(PyExc_TypeError, "TaskGroup.__aexit__() takes 3 arguments");
        return NULL;
    }
    Op *op = op_new(st, &aexit_spec, self);
    if (op != NULL) {
        op->extra = Py_NewRef(type);
        op->saved = Py_NewRef(exc);
        op->waiter = Py_NewRef(tb);
    }
    return (PyObject *)op;
}

/* ---- the type -------------------------------------------------------------------------------- */

static const CoroutineDef coroutines[] = {
    {"__aenter__", group_aenter,
     PyDoc_STR("__aenter__($self, /)\n--\n\nBegin the group. Return it.")},
    {"__aexit__", group_aexit,
     PyDoc_STR("__aexit__($self, et, exc, tb)\n--\n\n"
               "Wait for all tasks of the group. Raises their errors as an ExceptionGroup.")},
    {NULL, NULL, NULL},
};

static int
group_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    GroupObject *group = (GroupObject *)self;
    fastaio_state *st = primitive_state(self);
    if (st == NULL) {
        return -1;
    }
    if (!st->primitives->knows_group_fields || !primitive_has_no_arguments(args, kwargs)) {
        return primitive_base_init(&st->primitives->TaskGroup, self, args, kwargs);
    }
    PyObject *tasks = PySet_New(NULL), *errors = PyList_New(0);
    if (tasks == NULL || errors == NULL) {
        Py_XDECREF(tasks);
        Py_XDECREF(errors);
        return -1;
    }
    primitive_set(&group->bound.loop, Py_None);
    primitive_set(&group->entered, Py_False);
    primitive_set(&group->exiting, Py_False);
    primitive_set(&group->aborting, Py_False);
    primitive_set(&group->parent_task, Py_None);
    primitive_set(&group->parent_cancel_requested, Py_False);
    primitive_set(&group->base_error, Py_None);
    primitive_set(&group->on_completed_fut, Py_None);
#if GROUP_HAS_CANCEL
    primitive_set(&group->cancel_on_enter, Py_False);
#endif
    Py_XSETREF(group->tasks, tasks);
    Py_XSETREF(group->errors, errors);
    return 0;
}

PRIMITIVE_INIT(group_init)

static PyMemberDef group_members[] = {
    BOUND_MEMBERS,
#define X(field) {"_" #field, T_OBJECT_EX, offsetof(GroupObject, field), 0, NULL},
    GROUP_FIELDS(X)
#undef X
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef group_methods[] = {
    {"create_task", KEYWORDS(group_create_task), METH_FASTCALL | METH_KEYWORDS, create_task_doc},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(group_doc, "TaskGroup()\n--\n\n"
"asyncio.TaskGroup in C: tasks that an `async with` block starts and waits for. The first\n"
"error cancels the others; errors are raised together as an ExceptionGroup.");

static PyType_Slot group_slots[] = {
    {Py_tp_doc, (void *)group_doc},
    {Py_tp_new, primitive_new},
    {Py_tp_init, group_init_guarded},
    {Py_tp_members, group_members},
    {Py_tp_methods, group_methods},
    {0, NULL},
};

static PyType_Spec group_spec = {
    .name = "fastaio.TaskGroup",
    .basicsize = sizeof(GroupObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HEAPTYPE,
    .slots = group_slots,
};

/* Return true if a name that asyncio's __init__() uses is that of one of our fields, or `set`. */
static bool
is_known_name(PyObject *name)
{
    if (PyUnicode_CompareWithASCIIString(name, "set") == 0) {
        return true;
    }
    for (const PyMemberDef *member = group_members; member->name != NULL; member++) {
        if (PyUnicode_CompareWithASCIIString(name, member->name) == 0) {
            return true;
        }
    }
    return false;
}

/* Return 1 if asyncio's __init__() sets the fields that this file knows and no others, 0, or -1 with an
   exception. */
static int
knows_fields(PyObject *base)
{
    PyObject *names = function_names(base, "__init__");
    if (names == NULL) {
        return -1;
    }
    int known = PyTuple_GET_SIZE(names) > 0;
    for (Py_ssize_t i = 0; known && i < PyTuple_GET_SIZE(names); i++) {
        known = is_known_name(PyTuple_GET_ITEM(names, i));
    }
    Py_DECREF(names);
    return known;
}

/* Return 1 if asyncio's __aexit__() drops the errors and the parent task in the end: from releases of 3.13 on, where
   it is a frame around _aexit(). Return 0, or -1 with an exception. */
static int
drops_references(PyObject *base)
{
    PyObject *names = function_names(base, "_aexit");
    if (names == NULL) {
        return -1;
    }
    int drops = PyTuple_GET_SIZE(names) > 0;
    Py_DECREF(names);
    return drops;
}

/* Return 1 if asyncio's __aexit__() takes the group's cancellation of the parent task back before it waits, and
   not after that: up to releases of 3.12. Return 0, or -1 with an exception. */
static int
uncancels_first(PyObject *base, bool drops)
{
    PyObject *names = function_names(base, drops ? "_aexit" : "__aexit__");
    if (names == NULL) {
        return -1;
    }
    int first = !has_name(names, "cancelling");
    Py_DECREF(names);
    return first;
}

int
taskgroup_type_init(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    PrimitiveClass *cls = &st->primitives->TaskGroup;
    int known = knows_fields(cls->base), drops = drops_references(cls->base);
    int first = drops >= 0 ? uncancels_first(cls->base, drops) : -1;
    if (known < 0 || first < 0) {
        return -1;
    }
    st->primitives->group_drops_references = drops;
    st->primitives->knows_group_fields = known;
    st->primitives->group_uncancels_first = first;
    return primitive_add_class(module, cls, &group_spec, coroutines);
}
