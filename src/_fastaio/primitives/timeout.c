/* timeout.c: Timeout, timeout() and timeout_at().
 *
 * Programs make many timeouts and few expire. So Timeout is a type of its own, from a pool, that passes
 * isinstance() by its __class__. What happens to a timeout that expires is asyncio's own code: the methods
 * that are not here are taken from asyncio's class. Those work on the same attributes.
 */
#include "primitives/timeout.h"

#include "base/args.h"
#include "base/error.h"
#include "base/guard.h"
#include "loop/loop.h"
#include "primitives/function.h"
#include "primitives/immediate.h"
#include "primitives/primitives.h"
#include "primitives/running.h"
#include "task/coro.h"

typedef enum { CREATED, ENTERED, EXPIRING, EXPIRED, EXITED } TimeoutState;
/* The names of asyncio's enum members. */
static const char *const state_names[] = {"CREATED", "ENTERED", "EXPIRING", "EXPIRED", "EXITED"};

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall; /* the timer's callback is the Timeout itself */
    PyObject *when;            /* `_when`: a number or None; or NULL for None */
    PyObject *handle;          /* `_timeout_handler`: or NULL for None */
    PyObject *task;            /* `_task`: or NULL for None */
    PyObject *cancelling;      /* `_cancelling`: an int, if the task is not a native one; or NULL */
    PyObject *dict;
    PyObject *weakrefs;
    int32_t cancel_count;      /* `_cancelling` of a native task */
    uint8_t state;             /* a TimeoutState */
} TimeoutObject;

/* ---- the running task ------------------------------------------------------------------------ */

/* Return the running task, a new reference; NULL with RuntimeError if there is none. */
static PyObject *
running_task(fastaio_state *st, PyObject *loop)
{
    PyObject *task = NULL;
    if (loop_is_native(st, loop) && ((LoopObject *)loop)->current_task != NULL) {
        return Py_NewRef(((LoopObject *)loop)->current_task);
    }
    task = PyObject_CallNoArgs(st->current_task);
    if (task == Py_None) {
        Py_CLEAR(task);
        PyErr_SetString(PyExc_RuntimeError, "Timeout should be used inside a task");
    }
    return task;
}

/* Note how often the task has been asked to cancel. Return 0, or -1 with an exception. */
static int
keep_cancelling(fastaio_state *st, TimeoutObject *self)
{
    if (Py_IS_TYPE(self->task, st->TaskType)) {
        self->cancel_count = shared_load(&((TaskObject *)self->task)->cancels_requested);
        Py_CLEAR(self->cancelling);
        return 0;
    }
    PyObject *task = Py_NewRef(self->task); /* the call may change the field */
    PyObject *cancelling = PyObject_CallMethod(task, "cancelling", NULL);
    Py_DECREF(task);
    if (cancelling == NULL) {
        return -1;
    }
    Py_XSETREF(self->cancelling, cancelling);
    return 0;
}

/* ---- scheduling ------------------------------------------------------------------------------ */

/* Return true, with loop.time() in *seconds, if that is the loop's own clock. */
static bool
has_own_clock(fastaio_state *st, PyObject *loop, double *seconds)
{
    if (!loop_is_native(st, loop) || (loop_time_overrides((LoopObject *)loop) & OVERRIDE_TIME)) {
        return false;
    }
    *seconds = (double)clock_ns() / NS_PER_SECOND;
    return true;
}

/* Return 1 if the deadline has passed, 0, or -1 with an exception. */
static int
has_passed(fastaio_state *st, PyObject *loop, PyObject *when)
{
    double seconds;
    if (PyFloat_CheckExact(when) && has_own_clock(st, loop, &seconds)) {
        return PyFloat_AS_DOUBLE(when) <= seconds;
    }
    PyObject *now = PyObject_CallMethodNoArgs(loop, st->str_time);
    int passed = now ? PyObject_RichCompareBool(when, now, Py_LE) : -1;
    Py_XDECREF(now);
    return passed;
}

/* Schedule the end of the time for self->when. Return 0, or -1 with an exception. */
static int
schedule(fastaio_state *st, TimeoutObject *self, PyObject *loop)
{
    PyObject *when = Py_NewRef(self->when ? self->when : Py_None);
    int passed = has_passed(st, loop, when);
    PyObject *handle = NULL;
    if (passed > 0) {
        handle = PyObject_CallMethodOneArg(loop, st->str_call_soon, (PyObject *)self);
    }
    else if (passed == 0) {
        handle = running_call_at(st, loop, when, (PyObject *)self, NULL, 0);
    }
    Py_DECREF(when);
    if (handle == NULL) {
        return -1;
    }
    Py_XSETREF(self->handle, handle);
    return 0;
}

/* Cancel the timer, if there is one, and forget it. Return 0, or -1 with an exception. */
static int
unschedule(fastaio_state *st, TimeoutObject *self)
{
    PyObject *handle = self->handle;
    if (handle == NULL) {
        return 0;
    }
    self->handle = NULL;
    int result = running_cancel(st, handle);
    Py_DECREF(handle);
    return result;
}

/* Cancel the task: the time is over. Within the critical section. */
static PyObject *
expire(TimeoutObject *self)
{
    fastaio_state *st = state_of_type(Py_TYPE(self));
    if (st == NULL) {
        return NULL;
    }
    if (self->state != ENTERED || self->task == NULL) {
        PyErr_SetNone(PyExc_AssertionError);
        return NULL;
    }
    PyObject *task = Py_NewRef(self->task);
    PyObject *cancelled = PyObject_CallMethodNoArgs(task, st->str_cancel);
    Py_DECREF(task);
    if (cancelled == NULL) {
        return NULL;
    }
    Py_DECREF(cancelled);
    self->state = EXPIRING;
    Py_CLEAR(self->handle);
    Py_RETURN_NONE;
}

static PyObject *
timeout_vectorcall(PyObject *self, PyObject *const *Py_UNUSED(args), size_t flagged,
                   PyObject *keywords)
{
    if (PyVectorcall_NARGS(flagged) != 0 || (keywords && PyTuple_GET_SIZE(keywords) != 0)) {
        PyErr_SetString(PyExc_TypeError, "'Timeout' object takes no arguments");
        return NULL;
    }
    PyObject *result;
    Py_BEGIN_CRITICAL_SECTION(self);
    result = expire((TimeoutObject *)self);
    Py_END_CRITICAL_SECTION();
    return result;
}

PyDoc_STRVAR(on_timeout_doc, "_on_timeout($self, /)\n--\n\nCancel the task: the time is over.");

static PyObject *
timeout_on_timeout(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return expire((TimeoutObject *)self);
}

PyDoc_STRVAR(reschedule_doc, "reschedule($self, /, when)\n--\n\n"
"Change the deadline. when: a time of loop.time(), in seconds; None: no deadline.\n\n"
"Raises RuntimeError if the timeout is not active.");

/* Change the deadline of an active timeout. Return 0, or -1 with an exception. */
static int
set_deadline(fastaio_state *st, TimeoutObject *self, PyObject *when)
{
    Py_XSETREF(self->when, Py_NewRef(when));
    if (unschedule(st, self) < 0) {
        return -1;
    }
    if (when == Py_None) {
        return 0;
    }
    PyObject *loop = running_loop(st);
    int result = loop ? schedule(st, self, loop) : -1;
    Py_XDECREF(loop);
    return result;
}

static PyObject *
timeout_reschedule(PyObject *obj, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    TimeoutObject *self = (TimeoutObject *)obj;
    fastaio_state *st = state_of_type(Py_TYPE(obj));
    PyObject *when = st ? only_argument("Timeout.reschedule", "when", args, count, keywords) : NULL;
    if (when == NULL) {
        return NULL;
    }
    if (self->state != ENTERED) {
        /* asyncio's method says which state refuses. */
        return PyObject_CallMethod(st->asyncio_Timeout, "reschedule", "OO", obj, when);
    }
    return set_deadline(st, self, when) < 0 ? NULL : Py_NewRef(Py_None);
}

/* ---- entering and leaving -------------------------------------------------------------------- */

/* Do timeout_enter() within the critical section. */
static int
enter(fastaio_state *st, PyObject *obj)
{
    TimeoutObject *self = (TimeoutObject *)obj;
    if (self->state != CREATED) {
        PyErr_SetString(PyExc_RuntimeError, "Timeout has already been entered");
        return -1;
    }
    PyObject *loop = running_loop(st);
    PyObject *task = loop ? running_task(st, loop) : NULL;
    if (task == NULL) {
        Py_XDECREF(loop);
        return -1;
    }
    self->state = ENTERED;
    Py_XSETREF(self->task, task);
    int result = keep_cancelling(st, self);
    if (result == 0 && self->when != NULL && self->when != Py_None) {
        result = schedule(st, self, loop);
    }
    Py_DECREF(loop);
    return result;
}

int
timeout_enter(fastaio_state *st, PyObject *obj)
{
    int result;
    Py_BEGIN_CRITICAL_SECTION(obj);
    result = enter(st, obj);
    Py_END_CRITICAL_SECTION();
    return result;
}

/* Run asyncio's own __aexit__(), which never waits. Return 0, or -1 with an exception. */
static int
exit_by_asyncio(fastaio_state *st, PyObject *self, PyObject *exc)
{
    PyObject *type = exc == Py_None ? exc : (PyObject *)Py_TYPE(exc);
    PyObject *coro =
        PyObject_CallMethod(st->asyncio_Timeout, "__aexit__", "OOOO", self, type, exc, Py_None);
    if (coro == NULL) {
        return -1;
    }
    bool handles = PyExceptionInstance_Check(exc); /* a caller may pass anything */
    PyObject *outer = handles ? begin_handling(exc) : NULL;
    PyObject *value;
    PySendResult sent = PyIter_Send(coro, Py_None, &value);
    if (handles) {
        end_handling(outer);
    }
    Py_DECREF(coro);
    if (sent == PYGEN_ERROR) {
        return -1;
    }
    Py_DECREF(value);
    return 0;
}

int
timeout_exit(fastaio_state *st, PyObject *obj, PyObject *exc)
{
    TimeoutObject *self = (TimeoutObject *)obj;
    bool entered;
    int result = 0;
    Py_BEGIN_CRITICAL_SECTION(obj);
    entered = self->state == ENTERED;
    if (entered) {
        self->state = EXITED;
        result = unschedule(st, self);
    }
    Py_END_CRITICAL_SECTION();
    return entered ? result : exit_by_asyncio(st, obj, exc);
}

/* Enter a timeout whose __aenter__() is awaited: an immediate_fn. */
static int
enter_awaited(fastaio_state *st, PyObject *obj)
{
    if (timeout_enter(st, obj) < 0) {
        return -1;
    }
    int in_step;
    Py_BEGIN_CRITICAL_SECTION(obj);
    PyObject *task = ((TimeoutObject *)obj)->task;
    in_step = task != NULL && PyObject_TypeCheck(task, st->TaskType);
    Py_END_CRITICAL_SECTION();
    return in_step;
}

static PyObject *
timeout_aenter(fastaio_state *st, PyObject *self, PyObject *const *Py_UNUSED(args),
               Py_ssize_t count, PyObject *keywords)
{
    if (count != 0 || keywords != NULL) {
        PyErr_SetString(PyExc_TypeError, "Timeout.__aenter__() takes no arguments");
        return NULL;
    }
    return immediate_call(st, enter_awaited, self);
}

static PyObject *
timeout_aexit(fastaio_state *st, PyObject *self, PyObject *const *args, Py_ssize_t count,
              PyObject *keywords)
{
    PyObject *exc = aexit_exception("Timeout", args, count, keywords);
    if (exc == NULL) {
        return NULL;
    }
    coro_forget_stop(st, self);
    return timeout_exit(st, self, exc) < 0 ? NULL : immediate_new(st, Py_None);
}

static const CoroutineDef coroutines[] = {
    {"__aenter__", timeout_aenter,
     PyDoc_STR("__aenter__($self, /)\n--\n\nStart the time. Return the Timeout.\n\n"
               "Raises RuntimeError outside of a task, or if the time has been started before.")},
    {"__aexit__", timeout_aexit,
     PyDoc_STR("__aexit__($self, exc_type, exc_val, exc_tb)\n--\n\n"
               "Stop the time. Raises TimeoutError in place of the CancelledError by which the\n"
               "time's end stopped the block.")},
    {NULL, NULL, NULL},
};

/* ---- making and freeing ---------------------------------------------------------------------- */

/* Return a new Timeout for a deadline; NULL with MemoryError. */
static PyObject *
timeout_make(fastaio_state *st, PyObject *when)
{
    TimeoutObject *self = (TimeoutObject *)pool_alloc(&st->primitives->timeout_pool,
                                                      st->primitives->TimeoutType);
    if (self != NULL) {
        self->vectorcall = timeout_vectorcall;
        self->when = Py_NewRef(when);
    }
    return (PyObject *)self;
}

/* Return loop.time() + delay, a new reference; NULL with an exception. */
static PyObject *
deadline_of(fastaio_state *st, PyObject *loop, PyObject *delay)
{
    double seconds;
    bool own_clock = has_own_clock(st, loop, &seconds);
    if (own_clock && (PyFloat_CheckExact(delay) || PyLong_CheckExact(delay))) {
        double summand = PyFloat_CheckExact(delay) ? PyFloat_AS_DOUBLE(delay)
                                                   : PyLong_AsDouble(delay);
        return summand == -1.0 && PyErr_Occurred() ? NULL : PyFloat_FromDouble(seconds + summand);
    }
    PyObject *now = own_clock ? PyFloat_FromDouble(seconds)
                              : PyObject_CallMethodNoArgs(loop, st->str_time);
    PyObject *when = now ? PyNumber_Add(now, delay) : NULL;
    Py_XDECREF(now);
    return when;
}

PyObject *
timeout_new(fastaio_state *st, PyObject *delay)
{
    PyObject *loop = running_loop(st);
    if (loop == NULL) {
        return NULL;
    }
    PyObject *when = delay == Py_None ? Py_NewRef(delay) : deadline_of(st, loop, delay);
    PyObject *self = when ? timeout_make(st, when) : NULL;
    Py_XDECREF(when);
    Py_DECREF(loop);
    return self;
}

PyDoc_STRVAR(timeout_function_doc, "timeout($module, /, delay)\n--\n\n"
"Return an asynchronous context manager that stops its block after `delay` seconds.\n\n"
"delay: seconds; None: no limit. The block gets a CancelledError, which leaves the context manager\n"
"as TimeoutError. Raises RuntimeError if no loop runs. asyncio.timeout() in C.");

static PyObject *
timeout_function(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    PyObject *delay = only_argument("timeout", "delay", args, count, keywords);
    return delay ? timeout_new(state_of_module(module), delay) : NULL;
}

PyDoc_STRVAR(timeout_at_doc, "timeout_at($module, /, when)\n--\n\n"
"Return an asynchronous context manager that stops its block at a time of loop.time().\n\n"
"when: seconds; None: no limit. Like timeout() otherwise. asyncio.timeout_at() in C.");

static PyObject *
timeout_at_function(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    PyObject *when = only_argument("timeout_at", "when", args, count, keywords);
    return when ? timeout_make(state_of_module(module), when) : NULL;
}

static PyMethodDef functions[] = {
    {"timeout", KEYWORDS(timeout_function), METH_FASTCALL | METH_KEYWORDS, timeout_function_doc},
    {"timeout_at", KEYWORDS(timeout_at_function), METH_FASTCALL | METH_KEYWORDS, timeout_at_doc},
    {NULL, NULL, 0, NULL},
};

static PyObject *
timeout_type_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    TimeoutObject *self = (TimeoutObject *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->vectorcall = timeout_vectorcall;
        self->when = Py_NewRef(Py_None);
    }
    return (PyObject *)self;
}

static int
timeout_init(PyObject *obj, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"when", NULL};
    TimeoutObject *self = (TimeoutObject *)obj;
    PyObject *when;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O:Timeout", names, &when)) {
        return -1;
    }
    Py_BEGIN_CRITICAL_SECTION(obj);
    self->state = CREATED;
    Py_CLEAR(self->handle);
    Py_CLEAR(self->task);
    Py_XSETREF(self->when, Py_NewRef(when));
    Py_END_CRITICAL_SECTION();
    return 0;
}

static int
timeout_traverse(PyObject *obj, visitproc visit, void *arg)
{
    TimeoutObject *self = (TimeoutObject *)obj;
    Py_VISIT(Py_TYPE(obj));
    Py_VISIT(self->when);
    Py_VISIT(self->handle);
    Py_VISIT(self->task);
    Py_VISIT(self->cancelling);
    Py_VISIT(self->dict);
    return 0;
}

static int
timeout_clear(PyObject *obj)
{
    TimeoutObject *self = (TimeoutObject *)obj;
    Py_CLEAR(self->when);
    Py_CLEAR(self->handle);
    Py_CLEAR(self->task);
    Py_CLEAR(self->cancelling);
    Py_CLEAR(self->dict);
    return 0;
}

static void
timeout_dealloc(PyObject *obj)
{
    PyTypeObject *type = Py_TYPE(obj);
    fastaio_state *st = state_of_dying(type);
    Primitives *primitives = st ? st->primitives : NULL;
    PyObject_GC_UnTrack(obj);
    if (shared_load(&((TimeoutObject *)obj)->weakrefs) != NULL) {
        PyObject_ClearWeakRefs(obj);
    }
    timeout_clear(obj);
    if (primitives != NULL && type == primitives->TimeoutType) {
        pool_give(&primitives->timeout_pool, obj);
    }
    else {
        type->tp_free(obj);
    }
    Py_DECREF(type);
}

/* ---- attributes ------------------------------------------------------------------------------ */

static PyObject *
timeout_get_class(PyObject *self, void *Py_UNUSED(closure))
{
    fastaio_state *st = state_of_type(Py_TYPE(self));
    if (st == NULL) {
        return NULL;
    }
    bool exact = Py_TYPE(self) == st->primitives->TimeoutType;
    return Py_NewRef(exact ? st->asyncio_Timeout : (PyObject *)Py_TYPE(self));
}

static PyObject *
timeout_get_state(PyObject *self, void *Py_UNUSED(closure))
{
    fastaio_state *st = state_of_type(Py_TYPE(self));
    return st ? PyObject_GetAttrString(st->timeout_states,
                                       state_names[((TimeoutObject *)self)->state])
              : NULL;
}

static int
timeout_set_state(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    PyObject *name = value ? PyObject_GetAttrString(value, "name") : NULL;
    for (int state = CREATED; name != NULL && PyUnicode_Check(name) && state <= EXITED; state++) {
        if (PyUnicode_CompareWithASCIIString(name, state_names[state]) == 0) {
            Py_DECREF(name);
            ((TimeoutObject *)self)->state = (uint8_t)state;
            return 0;
        }
    }
    Py_XDECREF(name);
    if (!PyErr_Occurred()) {
        PyErr_SetString(PyExc_TypeError, "_state must be a member of asyncio.timeouts._State");
    }
    return -1;
}

static PyObject *
timeout_get_cancelling(PyObject *obj, void *Py_UNUSED(closure))
{
    const TimeoutObject *self = (TimeoutObject *)obj;
    return self->cancelling ? Py_NewRef(self->cancelling) : PyLong_FromLong(self->cancel_count);
}

PyDoc_STRVAR(when_doc, "when($self, /)\n--\n\n"
"Return the deadline, a time of loop.time() in seconds; None: none.");

static PyObject *
timeout_when(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *when = ((TimeoutObject *)self)->when;
    return Py_NewRef(when ? when : Py_None);
}

PyDoc_STRVAR(expired_doc, "expired($self, /)\n--\n\n"
"Return True if the time was over before the block was.");

static PyObject *
timeout_expired(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    uint8_t state = ((TimeoutObject *)self)->state;
    return PyBool_FromLong(state == EXPIRING || state == EXPIRED);
}

static PyMethodDef timeout_methods[] = {
    {"when", timeout_when, METH_NOARGS, when_doc},
    {"expired", timeout_expired, METH_NOARGS, expired_doc},
    {"reschedule", KEYWORDS(timeout_reschedule), METH_FASTCALL | METH_KEYWORDS, reschedule_doc},
    {"_on_timeout", timeout_on_timeout, METH_NOARGS, on_timeout_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef timeout_getset[] = {
    {"__class__", timeout_get_class, NULL, NULL, NULL},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {"_state", timeout_get_state, timeout_set_state, NULL, NULL},
    {"_cancelling", timeout_get_cancelling, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef timeout_members[] = {
    {"_when", T_OBJECT, offsetof(TimeoutObject, when), 0, NULL},
    {"_timeout_handler", T_OBJECT, offsetof(TimeoutObject, handle), 0, NULL},
    {"_task", T_OBJECT, offsetof(TimeoutObject, task), 0, NULL},
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(TimeoutObject, vectorcall), READONLY, NULL},
    {"__dictoffset__", T_PYSSIZET, offsetof(TimeoutObject, dict), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(TimeoutObject, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(timeout_doc, "Timeout(when)\n--\n\n"
"asyncio.Timeout in C: an asynchronous context manager that stops its block at a time of\n"
"loop.time(). Made by timeout() and timeout_at().");

static PyType_Slot timeout_slots[] = {
    {Py_tp_doc, (void *)timeout_doc},
    {Py_tp_new, timeout_type_new},
    {Py_tp_init, timeout_init},
    {Py_tp_traverse, timeout_traverse},
    {Py_tp_clear, timeout_clear},
    {Py_tp_dealloc, timeout_dealloc},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_methods, timeout_methods},
    {Py_tp_getset, timeout_getset},
    {Py_tp_members, timeout_members},
    {0, NULL},
};

static PyType_Spec timeout_spec = {
    .name = "fastaio.Timeout",
    .basicsize = sizeof(TimeoutObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC
             | Py_TPFLAGS_HAVE_VECTORCALL,
    .slots = timeout_slots,
};

/* Give the type the methods of asyncio's class that it lacks. Return 0, or -1 with an exception. */
static int
add_from_asyncio(fastaio_state *st)
{
    PyObject *type = (PyObject *)st->primitives->TimeoutType;
    PyObject *dict = ((PyTypeObject *)st->asyncio_Timeout)->tp_dict, *name, *value;
    Py_ssize_t position = 0;
    while (PyDict_Next(dict, &position, &name, &value)) {
        bool method = PyFunction_Check(value) || Py_IS_TYPE(value, &PyStaticMethod_Type);
        int has = method ? PyDict_Contains(((PyTypeObject *)type)->tp_dict, name) : 1;
        if (has < 0 || (has == 0 && PyObject_SetAttr(type, name, value) < 0)) {
            return -1;
        }
    }
    return 0;
}

static const char *const free_names[] = {"__class__", NULL};
static const GuardRules rules = {.free_names = free_names};

int
timeout_type_init(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    PyTypeObject *type = state_add_type(module, &timeout_spec, NULL);
    st->primitives->TimeoutType = type;
    if (type == NULL || add_coroutine_methods(module, type, coroutines) < 0
        || add_from_asyncio(st) < 0 || guard_type(st, type, &rules) < 0) {
        return -1;
    }
    return PyModule_AddFunctions(module, functions);
}
