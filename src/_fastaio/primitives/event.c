/* event.c: Event. The method that is not here is asyncio's own: __repr__(). */
#include "primitives/event.h"

#include "primitives/function.h"
#include "primitives/line.h"
#include "primitives/waiter.h"

typedef struct {
    BoundObject bound;
    PyObject *waiters; /* `_waiters`: a deque of futures */
    PyObject *value;   /* `_value`: a bool */
} EventObject;

/* ---- set and clear --------------------------------------------------------------------------- */

/* Return the truth of _value: 1, 0, or -1 with an exception. */
static int
is_set(PyObject *self)
{
    PyObject *value = primitive_field(self, ((EventObject *)self)->value, "_value");
    return value ? primitive_truth(value) : -1;
}

/* Wake all waiters. Return 0, or -1 with an exception. */
static int
wake_all(fastaio_state *st, PyObject *waiters)
{
    if (Py_IS_TYPE(waiters, (PyTypeObject *)st->deque) && Py_SIZE(waiters) <= 1) {
        return waiters_wake_first(st, waiters, Py_True); /* without an iterator */
    }
    PyObject *iterator = PyObject_GetIter(waiters), *waiter;
    if (iterator == NULL) {
        return -1;
    }
    int woken = 0;
    while (woken >= 0 && (waiter = PyIter_Next(iterator)) != NULL) {
        woken = waiter_wake(st, waiter, Py_True);
        Py_DECREF(waiter);
    }
    Py_DECREF(iterator);
    return woken < 0 || PyErr_Occurred() ? -1 : 0;
}

/* Do set(). Return 0, or -1 with an exception. */
static int
set_event(fastaio_state *st, PyObject *self)
{
    EventObject *event = (EventObject *)self;
    int set = is_set(self);
    if (set != 0) {
        return set < 0 ? -1 : 0;
    }
    primitive_set(&event->value, Py_True);
    if (primitive_field(self, event->waiters, "_waiters") == NULL) {
        return -1;
    }
    PyObject *waiters = Py_NewRef(event->waiters);
    int result = wake_all(st, waiters);
    Py_DECREF(waiters);
    return result;
}

static void
clear_event(PyObject *self)
{
    primitive_set(&((EventObject *)self)->value, Py_False);
}

int
event_set(fastaio_state *st, PyObject *event)
{
    if (!primitive_is_plain(&st->primitives->Event, event)) {
        return drop_result(PyObject_CallMethodNoArgs(event, st->str_set));
    }
    int result;
    Py_BEGIN_CRITICAL_SECTION(event);
    result = set_event(st, event);
    Py_END_CRITICAL_SECTION();
    return result;
}

int
event_clear(fastaio_state *st, PyObject *event)
{
    if (primitive_is_plain(&st->primitives->Event, event)) {
        Py_BEGIN_CRITICAL_SECTION(event);
        clear_event(event);
        Py_END_CRITICAL_SECTION();
        return 0;
    }
    return drop_result(PyObject_CallMethodNoArgs(event, st->str_clear));
}

PyDoc_STRVAR(set_doc, "set($self, /)\n--\n\n"
"Set the event, and wake all tasks that wait for it.");

static PyObject *
set_method(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    fastaio_state *st = primitive_state(self);
    return st == NULL || set_event(st, self) < 0 ? NULL : Py_NewRef(Py_None);
}

PyDoc_STRVAR(clear_doc, "clear($self, /)\n--\n\n"
"Reset the event: from now on wait() waits.");

static PyObject *
clear_method(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    clear_event(self);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(is_set_doc, "is_set($self, /)\n--\n\nReturn True if the event is set.");

static PyObject *
is_set_method(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return Py_XNewRef(primitive_field(self, ((EventObject *)self)->value, "_value"));
}

/* ---- waiting --------------------------------------------------------------------------------- */

static Outcome
start_wait(Op *op, PyObject **result)
{
    EventObject *event = (EventObject *)op->self;
    int set = is_set(op->self);
    if (set != 0) {
        *result = set > 0 ? Py_NewRef(Py_True) : NULL;
        return set > 0 ? DONE : FAILED;
    }
    return line_join(op, &event->waiters, "_waiters");
}

static Outcome
resume_wait(Op *op, PyObject *value, PyObject **result)
{
    Cleanup cleanup = cleanup_begin(value);
    if (cleanup_end(&cleanup, line_leave(op, &((EventObject *)op->self)->waiters, "_waiters")) < 0) {
        return FAILED;
    }
    *result = Py_NewRef(Py_True);
    return DONE;
}

static const OpSpec wait_spec = {OP_KIND("Event"), "wait", start_wait, resume_wait};

static PyObject *
event_wait(fastaio_state *st, PyObject *self, PyObject *const *Py_UNUSED(args), Py_ssize_t count,
           PyObject *keywords)
{
    return op_without_arguments(st, &wait_spec, self, count, keywords);
}

/* ---- the type -------------------------------------------------------------------------------- */

static const CoroutineDef coroutines[] = {
    {"wait", event_wait,
     PyDoc_STR("wait($self, /)\n--\n\n"
               "Wait until the event is set; return True. Does not wait if it is set already.")},
    {NULL, NULL, NULL},
};

static int
event_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    EventObject *event = (EventObject *)self;
    fastaio_state *st = primitive_state(self);
    if (st == NULL) {
        return -1;
    }
    if (!primitive_has_no_arguments(args, kwargs)) {
        return primitive_base_init(&st->primitives->Event, self, args, kwargs);
    }
    PyObject *waiters = deque_new(st);
    if (waiters == NULL) {
        return -1;
    }
    Py_XSETREF(event->waiters, waiters);
    primitive_set(&event->value, Py_False);
    return 0;
}

PRIMITIVE_INIT(event_init)

static PyMemberDef event_members[] = {
    BOUND_MEMBERS,
    {"_waiters", T_OBJECT_EX, offsetof(EventObject, waiters), 0, NULL},
    {"_value", T_OBJECT_EX, offsetof(EventObject, value), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef event_methods[] = {
    {"set", set_method, METH_NOARGS, set_doc},
    {"clear", clear_method, METH_NOARGS, clear_doc},
    {"is_set", is_set_method, METH_NOARGS, is_set_doc},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(event_doc, "Event()\n--\n\n"
"asyncio.Event in C: a flag that tasks can wait for.");

static PyType_Slot event_slots[] = {
    {Py_tp_doc, (void *)event_doc},
    {Py_tp_new, primitive_new},
    {Py_tp_init, event_init_guarded},
    {Py_tp_members, event_members},
    {Py_tp_methods, event_methods},
    {0, NULL},
};

static PyType_Spec event_spec = {
    .name = "fastaio.Event",
    .basicsize = sizeof(EventObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HEAPTYPE,
    .slots = event_slots,
};

int
event_type_init(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    return primitive_add_class(module, &st->primitives->Event, &event_spec, coroutines);
}
