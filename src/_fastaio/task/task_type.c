/* task_type.c: the Task type: methods, attributes, deallocation. */
#include "task/task_type.h"

#include "base/asyncio_versions.h"
#include "base/guard.h"
#include "loop/loop.h"
#include "task/base_fields.h"
#include "task/future.h"
#include "task/future_base.h"
#include "task/future_methods.h"
#include "task/registry.h"
#include "task/task.h"
#include "task/task_start.h"
#include <structmember.h>

/* ---- methods --------------------------------------------------------------------------------- */

#define X(name) FUTURE_WRAP_NOARGS(TaskObject, task, name)
FUTURE_NOARGS(X)
#undef X
#define X(name) FUTURE_WRAP_GETTER(TaskObject, task, name)
FUTURE_GETTERS(X)
FUTURE_ACCESSORS(X)
#undef X
#define X(name) FUTURE_WRAP_SETTER(TaskObject, task, name)
FUTURE_ACCESSORS(X)
#undef X
FUTURE_WRAP_REST(TaskObject, task)

PyDoc_STRVAR(task_cancel_doc, "cancel($self, /, msg=None)\n--\n\n"
"Have CancelledError thrown into the coroutine at the next step.\n\n"
"msg: the argument of the error.\n"
"Return False if the task is done, else True.");

/* Do cancel() within the critical section. */
static PyObject *
task_cancel_held(TaskObject *self, PyObject *message)
{
    relaxed_store(&self->core.log_traceback, false);
    if (!future_is_pending(&self->core)) {
        Py_RETURN_FALSE;
    }
    shared_store(&self->cancels_requested, self->cancels_requested + 1);
    if (self->fut_waiter != NULL) {
        fastaio_state *st = self->core.st;
        PyObject *waiter = Py_NewRef(self->fut_waiter), *answer;
        if (Py_IS_TYPE(waiter, st->FutureType) && !compat_may_have_attributes(waiter)) {
            int done = future_cancel(&((FutureObject *)waiter)->core, message);
            answer = done < 0 ? NULL : PyBool_FromLong(done);
        }
        else {
            answer = PyObject_CallMethodOneArg(waiter, st->str_cancel, message);
        }
        Py_DECREF(waiter);
        int cancelled = answer ? PyObject_IsTrue(answer) : -1;
        Py_XDECREF(answer);
        if (cancelled) {
            return cancelled < 0 ? NULL : Py_NewRef(Py_True);
        }
    }
    Py_XSETREF(self->core.cancel_message, Py_NewRef(message));
    shared_store(&self->must_cancel, true);
    Py_RETURN_TRUE;
}

static PyObject *
task_cancel(TaskObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    PyObject *result, *message = core_cancel_argument(args, count, keywords);
    if (message == NULL || future_ensure_initialized(&self->core) < 0) {
        return NULL;
    }
    Py_BEGIN_CRITICAL_SECTION(self);
    result = task_cancel_held(self, message);
    Py_END_CRITICAL_SECTION();
    return result;
}

PyDoc_STRVAR(task_cancelling_doc, "cancelling($self, /)\n--\n\n"
"Return the number of calls of cancel() that uncancel() has not taken back.");

static PyObject *
task_cancelling(TaskObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromLong(shared_load(&self->cancels_requested));
}

PyDoc_STRVAR(task_uncancel_doc, "uncancel($self, /)\n--\n\n"
"Take one call of cancel() back. Return the number that is left.");

static PyObject *
task_uncancel(TaskObject *self, PyObject *Py_UNUSED(ignored))
{
    if (self->cancels_requested > 0) {
        shared_store(&self->cancels_requested, self->cancels_requested - 1);
        if (UNCANCEL_TAKES_BACK && self->cancels_requested == 0) {
            shared_store(&self->must_cancel, false);
        }
    }
    return PyLong_FromLong(self->cancels_requested);
}

PyDoc_STRVAR(task_get_coro_doc, "get_coro($self, /)\n--\n\n"
"Return the coroutine; None if the task ended in an eager start.");

static PyObject *
task_get_coro(TaskObject *self, PyObject *Py_UNUSED(ignored))
{
    return Py_NewRef(self->coro ? self->coro : Py_None);
}

PyDoc_STRVAR(task_get_context_doc, "get_context($self, /)\n--\n\n"
"Return the contextvars.Context that the coroutine runs in.");

static PyObject *
task_get_context(TaskObject *self, PyObject *Py_UNUSED(ignored))
{
    return Py_NewRef(self->context ? self->context : Py_None);
}

PyDoc_STRVAR(task_get_name_doc, "get_name($self, /)\n--\n\nReturn the task's name.");

static PyObject *
task_get_name(TaskObject *self, PyObject *Py_UNUSED(ignored))
{
    if (self->name == NULL) {
        if (self->number == 0) {
            Py_RETURN_NONE;
        }
        self->name = PyUnicode_FromFormat("Task-%llu", (unsigned long long)self->number);
    }
    return Py_XNewRef(self->name);
}

PyDoc_STRVAR(task_set_name_doc, "set_name($self, value, /)\n--\n\n"
"Set the task's name to str(value).");

static PyObject *
task_set_name(TaskObject *self, PyObject *value)
{
    PyObject *text = PyUnicode_CheckExact(value) ? Py_NewRef(value) : PyObject_Str(value);
    if (text == NULL) {
        return NULL;
    }
    Py_XSETREF(self->name, text);
    self->number = 0;
    if (self->core.st != NULL && base_fields_set_name(self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
task_refuse_set_result(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(value))
{
    PyErr_SetString(PyExc_RuntimeError, "Task does not support set_result operation");
    return NULL;
}

static PyObject *
task_refuse_set_exception(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(value))
{
    PyErr_SetString(PyExc_RuntimeError, "Task does not support set_exception operation");
    return NULL;
}

#ifdef Py_GIL_DISABLED

static bool
is_foreign(TaskObject *task)
{
    LoopObject *loop = task->core.native_loop;
    return loop != NULL && claim_is_foreign(&loop->claim);
}

/* Return true if the task may be running in another thread: then nobody else looks at its frames. */
static bool
runs_elsewhere(TaskObject *task)
{
    return future_is_pending(&task->core) && is_foreign(task);
}

#else
#define runs_elsewhere(task) ((void)(task), false)
#endif

PyDoc_STRVAR(task_get_stack_doc, "get_stack($self, /, *, limit=None)\n--\n\n"
"Return a list of the coroutine's stack frames; of its traceback's frames if it failed.\n\n"
"limit: the largest number of frames; None: all.");

static PyObject *
task_get_stack(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"limit", NULL};
    PyObject *limit = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$O:get_stack", names, &limit)
        || future_ensure_initialized(&((TaskObject *)self)->core) < 0) {
        return NULL;
    }
    if (runs_elsewhere((TaskObject *)self)) {
        return PyList_New(0);
    }
    return PyObject_CallFunctionObjArgs(((TaskObject *)self)->core.st->task_get_stack, self, limit,
                                        NULL);
}

PyDoc_STRVAR(task_print_stack_doc, "print_stack($self, /, *, limit=None, file=None)\n--\n\n"
"Print the stack of the coroutine; its traceback if it failed.\n\n"
"limit: the largest number of frames, None: all; file: a text file, None: sys.stderr.");

static PyObject *
task_print_stack(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"limit", "file", NULL};
    PyObject *limit = Py_None, *file = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$OO:print_stack", names, &limit, &file)
        || future_ensure_initialized(&((TaskObject *)self)->core) < 0) {
        return NULL;
    }
    return PyObject_CallFunctionObjArgs(((TaskObject *)self)->core.st->task_print_stack, self,
                                        limit, file, NULL);
}

#ifdef Py_GIL_DISABLED

/* Return the repr() of a task whose loop another thread uses. asyncio's function reads the frame of the coroutine,
   which that thread may be running, and a coroutine in C refuses. */
static PyObject *
repr_of_foreign_task(PyObject *self)
{
    TaskObject *task = (TaskObject *)self;
    PyObject *name = NULL, *coro, *what = NULL, *result = NULL;
    PyObject *type = PyType_GetName(Py_TYPE(self));
    Py_BEGIN_CRITICAL_SECTION(self);
    coro = Py_XNewRef(task->coro);
    Py_END_CRITICAL_SECTION();
    if (type == NULL || (name = PyObject_CallMethod(self, "get_name", NULL)) == NULL) {
        goto done;
    }
    if (coro != NULL && PyObject_GetOptionalAttr(coro, task->core.st->str___qualname__, &what) < 0) {
        PyErr_Clear(); /* a coroutine in C tells its name in the thread of its loop */
    }
    if (what == NULL && (what = PyType_GetName(coro ? Py_TYPE(coro) : Py_TYPE(Py_None))) == NULL) {
        goto done;
    }
    result = PyUnicode_FromFormat("<%U %s name=%R coro=<%S()>>", type,
                                  future_is_pending(&task->core) ? "pending" : "done", name, what);
done:
    Py_XDECREF(type);
    Py_XDECREF(name);
    Py_XDECREF(coro);
    Py_XDECREF(what);
    return result;
}

#endif

static PyObject *
task_repr(PyObject *self)
{
    FutureCore *core = &((TaskObject *)self)->core;
    if (future_ensure_initialized(core) < 0) {
        return NULL;
    }
#ifdef Py_GIL_DISABLED
    if (runs_elsewhere((TaskObject *)self)) {
        return repr_of_foreign_task(self);
    }
#endif
    PyObject *repr;
    Py_BEGIN_CRITICAL_SECTION(self);
    repr = PyObject_CallOneArg(((TaskObject *)self)->core.st->task_repr, self);
    Py_END_CRITICAL_SECTION();
#ifdef Py_GIL_DISABLED
    if (repr == NULL && PyErr_ExceptionMatches(PyExc_RuntimeError)
        && is_foreign((TaskObject *)self)) {
        PyErr_Clear();
        return repr_of_foreign_task(self);
    }
#endif
    return repr;
}

static PyObject *
task_get_must_cancel(TaskObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(shared_load(&self->must_cancel));
}

static PyObject *
task_get_log_destroy_pending(TaskObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(shared_load(&self->log_destroy_pending));
}

static int
task_set_log_destroy_pending(TaskObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    int truth = core_assigned_truth(value);
    if (truth < 0) {
        return -1;
    }
    shared_store(&self->log_destroy_pending, truth);
    return 0;
}

/* ---- life ------------------------------------------------------------------------------------ */

static PyObject *
task_alloc(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    return type->tp_alloc(type, 0);
}

static int
task_init(TaskObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"coro", "loop", "name", "context",
                            TASK_HAS_EAGER_START ? "eager_start" : NULL, NULL};
    const char *format = TASK_HAS_EAGER_START ? "O|$OOOp:Task" : "O|$OOO:Task";
    PyObject *coro, *loop = Py_None, *name = Py_None, *context = Py_None;
    int eager = 0;
    if (PyTuple_GET_SIZE(args) > 1) {
        PyErr_Format(PyExc_TypeError, "Task() takes exactly 1 positional argument (%zd given)",
                     PyTuple_GET_SIZE(args));
        return -1;
    }
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, format, names, &coro, &loop, &name, &context,
                                     &eager)) {
        return -1;
    }
    fastaio_state *st = state_of_type(Py_TYPE(self));
    return st ? task_start(self, st, loop, coro, name, context, eager) : -1;
}

static void task_dealloc(PyObject *self);

/* Report a pending task that is being freed. Keeps the exception that is raised, and never fails. */
static void
report_destroyed_pending(TaskObject *task)
{
    FutureCore *core = &task->core;
    PyObject *saved = PyErr_GetRaisedException();
    PyObject *context = Py_BuildValue("{sOss}", "task", task, "message",
                                      "Task was destroyed but it is pending!");
    if (context == NULL || future_call_exception_handler(core, context) < 0) {
        PyErr_WriteUnraisable((PyObject *)task);
    }
    Py_XDECREF(context);
    if (saved != NULL) {
        PyErr_SetRaisedException(saved);
    }
}

static void
task_finalize(PyObject *self)
{
    TaskObject *task = (TaskObject *)self;
    /* asyncio's weak reference is dead by now, so a task that the exception handler keeps alive must stay off
       the list, too. */
    registry_remove(task);
    if (task->core.loop != NULL && future_is_pending(&task->core)
        && task->log_destroy_pending) {
        report_destroyed_pending(task);
    }
    future_report_unretrieved(&task->core);
}

static int
task_traverse(PyObject *self, visitproc visit, void *arg)
{
    TaskObject *task = (TaskObject *)self;
    Py_VISIT(task->coro);
    Py_VISIT(task->name);
    Py_VISIT(task->context);
    Py_VISIT(task->fut_waiter);
    int result = future_core_traverse(&task->core, visit, arg);
    return result ? result : future_base_traverse(self, task_dealloc, visit, arg);
}

static int
task_clear(PyObject *self)
{
    TaskObject *task = (TaskObject *)self;
    future_core_clear(&task->core);
    Py_CLEAR(task->coro);
    Py_CLEAR(task->name);
    Py_CLEAR(task->context);
    Py_CLEAR(task->fut_waiter);
    return future_base_clear(self, task_dealloc);
}

/* Count a task that is being freed by another thread than the loop's. */
static int
count_end(LoopObject *loop, PyObject *Py_UNUSED(obj))
{
    relaxed_add(&loop->metrics.tasks_ended, 1);
    return 0;
}

/* Have the loop forget a task that is being freed. */
static void
leave_loop(TaskObject *task, LoopObject *loop)
{
    bool guest = !claim_is_mine(&loop->claim);
    if (!guest || claim_as_guest(&loop->claim)) {
        if (loop->current_task == (PyObject *)task) {
            loop->current_task = NULL; /* asyncio's reference was dropped by others */
        }
        if (future_is_pending(&task->core)) {
            relaxed_add(&loop->metrics.tasks_ended, 1);
        }
        if (guest) {
            claim_end_as_guest(&loop->claim);
        }
    }
    else if (future_is_pending(&task->core)) {
        PyObject *raised = PyErr_GetRaisedException();
        if (loop_call_native(loop, count_end, NULL) < 0) {
            PyErr_Clear(); /* out of memory: the count stays wrong */
        }
        if (raised != NULL) {
            PyErr_SetRaisedException(raised);
        }
    }
}

static void task_free(void *self);

/* Do task_dealloc() for an untracked task. */
static void
task_drop(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    TaskObject *task = (TaskObject *)self;
    bool exact = type->tp_free == task_free;
    bool needs_finalizer =
        !exact || future_is_pending(&task->core) || task->core.log_traceback;
    if (needs_finalizer && dealloc_finalize(self) < 0) {
        return; /* resurrected */
    }
    registry_remove(task);
    if (task->core.native_loop != NULL) {
        leave_loop(task, task->core.native_loop);
    }
    if (exact) {
        fastaio_state *st = state_of_dying(type);
        if (st != NULL) {
            registry_empty_base(task, &st->layout);
        }
    }
    bool blank = future_base_is_blank(self);
    if (!blank) { /* as in asyncio: callbacks of weak references run before the task's fields are freed */
        PyObject_ClearWeakRefs(self);
    }
    future_core_drop(&task->core);
    Py_XDECREF(task->coro);
    Py_XDECREF(task->name);
    Py_XDECREF(task->context);
    Py_XDECREF(task->fut_waiter);
    if (exact && blank) {
        task_free(self);
        Py_DECREF(type);
    }
    else {
        future_base_dealloc(self, task_dealloc);
    }
}

static void
task_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    DEALLOC_BOUNDED(self, task_dealloc, task_drop);
}

/* tp_free of the exact type; subclasses have another. The base's dealloc calls it last. */
static void
task_free(void *self)
{
    fastaio_state *st = state_of_dying(Py_TYPE((PyObject *)self));
    bool reusable = st != NULL && compat_inline_values_are_blank(self);
    pool_give(reusable ? &st->task_pool : NULL, self);
}

/* ---- the type -------------------------------------------------------------------------------- */

static PyMethodDef task_methods[] = {
#define X(name) {#name, task_##name, METH_NOARGS, core_doc_##name},
    FUTURE_NOARGS(X)
#undef X
    FUTURE_METHOD_ENTRIES(task),
    {"cancel", (PyCFunction)(void (*)(void))task_cancel, METH_FASTCALL | METH_KEYWORDS,
     task_cancel_doc},
    {"cancelling", (PyCFunction)task_cancelling, METH_NOARGS, task_cancelling_doc},
    {"uncancel", (PyCFunction)task_uncancel, METH_NOARGS, task_uncancel_doc},
    {"get_coro", (PyCFunction)task_get_coro, METH_NOARGS, task_get_coro_doc},
    {"get_context", (PyCFunction)task_get_context, METH_NOARGS, task_get_context_doc},
    {"get_name", (PyCFunction)task_get_name, METH_NOARGS, task_get_name_doc},
    {"set_name", (PyCFunction)task_set_name, METH_O, task_set_name_doc},
    {"get_stack", (PyCFunction)(void (*)(void))task_get_stack, METH_VARARGS | METH_KEYWORDS,
     task_get_stack_doc},
    {"print_stack", (PyCFunction)(void (*)(void))task_print_stack, METH_VARARGS | METH_KEYWORDS,
     task_print_stack_doc},
    {"set_result", task_refuse_set_result, METH_O, "Not supported: raises RuntimeError."},
    {"set_exception", task_refuse_set_exception, METH_O, "Not supported: raises RuntimeError."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef task_getset[] = {
#define X(name) {#name, task_get_##name, NULL, NULL, NULL},
    FUTURE_GETTERS(X)
#undef X
#define X(name) {#name, task_get_##name, task_set_##name, NULL, NULL},
    FUTURE_ACCESSORS(X)
#undef X
    {"_must_cancel", (getter)task_get_must_cancel, NULL, NULL, NULL},
    {"_log_destroy_pending", (getter)task_get_log_destroy_pending,
     (setter)task_set_log_destroy_pending, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef task_members[] = {
    {"_coro", T_OBJECT, offsetof(TaskObject, coro), READONLY, NULL},
    {"_fut_waiter", T_OBJECT, offsetof(TaskObject, fut_waiter), READONLY, NULL},
    {"_num_cancels_requested", T_INT, offsetof(TaskObject, cancels_requested), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(task_doc,
#if TASK_HAS_EAGER_START
"Task(coro, *, loop=None, name=None, context=None, eager_start=False)\n--\n\n"
#else
"Task(coro, *, loop=None, name=None, context=None)\n--\n\n"
#endif
"A coroutine that runs on an event loop; a native asyncio.Task.\n\n"
"Usually made by asyncio.create_task() or loop.create_task().\n"
"loop: the event loop, None: the current one. name: None for a numbered name. context: the\n"
"contextvars.Context that the coroutine runs in, None: a copy of the current one."
#if TASK_HAS_EAGER_START
"\neager_start: do the first step immediately if the loop runs."
#endif
);

static PyType_Slot task_slots[] = {
    {Py_tp_doc, (void *)task_doc},
    {Py_tp_new, task_alloc},
    {Py_tp_init, task_init},
    {Py_tp_dealloc, task_dealloc},
    {Py_tp_free, task_free},
    {Py_tp_finalize, task_finalize},
    {Py_tp_traverse, task_traverse},
    {Py_tp_clear, task_clear},
    {Py_tp_repr, task_repr},
    {Py_tp_iter, task_iter},
    {Py_am_await, task_await},
    {Py_tp_methods, task_methods},
    {Py_tp_members, task_members},
    {Py_tp_getset, task_getset},
    {0, NULL},
};

static PyType_Spec task_spec = {
    .name = "fastaio.Task",
    .basicsize = sizeof(TaskObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE
             | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = task_slots,
};

_Static_assert(offsetof(TaskObject, core) == offsetof(FutureObject, core),
               "a task is a future, too");

/* Put Future into the method resolution order of Task, in front of the base that both have, as asyncio.Task
   is an asyncio.Future. A type cannot be made with two bases in C that have fields, though the layouts
   agree here; and a metaclass with __instancecheck__() would keep users from deriving classes with a
   metaclass of their own. Task has every method that Future has. Return 0, or -1 with an exception. */
static int
add_future_to_mro(PyTypeObject *task, PyTypeObject *future)
{
    Py_ssize_t count = PyTuple_GET_SIZE(task->tp_mro);
    PyObject *mro = PyTuple_New(count + 1);
    if (mro == NULL) {
        return -1;
    }
    for (Py_ssize_t i = 0, at = 0; i < count; i++) {
        PyObject *class = PyTuple_GET_ITEM(task->tp_mro, i);
        if (class == (PyObject *)future->tp_base) {
            PyTuple_SET_ITEM(mro, at++, Py_NewRef(future));
        }
        PyTuple_SET_ITEM(mro, at++, Py_NewRef(class));
    }
    Py_SETREF(task->tp_mro, mro);
    PyType_Modified(task);
    return 0;
}

static const char *const free_names[] = {
    FUTURE_FREE_NAMES, "cancelling",   "get_context",          "get_stack",
    "print_stack",     "_must_cancel", "_log_destroy_pending", NULL,
};
static const GuardRules rules = {.free_names = free_names};

int
task_types_init(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    if (future_base_check(st->asyncio_Task, offsetof(TaskObject, core)) < 0) {
        return -1;
    }
    st->TaskType = state_add_type(module, &task_spec, st->asyncio_Task);
    if (st->TaskType == NULL) {
        return -1;
    }
    st->TaskType->tp_iternext = task_next; /* as Future's */
    st->task_wakeup = &task_wakeup_def;
    return guard_type(st, st->TaskType, &rules) < 0 ? -1
                                                    : add_future_to_mro(st->TaskType, st->FutureType);
}
