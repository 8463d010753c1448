/* gather.c: gather(), and the future that it returns. */
#include "primitives/gather.h"

#include "base/asyncio_versions.h"
#include "base/error.h"
#include "primitives/children.h"
#include "task/done_callback.h"
#include "task/future.h"
#include "task/future_callbacks.h"
#include "task/future_methods.h"
#include <structmember.h>

/* asyncio's _GatheringFuture. Only its loop's thread makes it and counts children. Any thread may cancel it. */
typedef struct {
    FutureObject future;
    PyObject **children; /* the futures in the order of the arguments, native ones; none changes later */
    Py_ssize_t count;
    Py_ssize_t unfinished; /* different children whose end has not been counted */
    Py_ssize_t pending;    /* those of them that are not done */
    bool return_exceptions;
    bool cancel_requested; /* cancel() has cancelled a child */
    bool complete;         /* all children are there: gather() has succeeded */
} GatheringObject;

/* ---- the end of a child ---------------------------------------------------------------------- */

/* Return what a done child adds to the list of results, a new reference; NULL with an exception. */
static PyObject *
outcome_of(FutureCore *child)
{
    if (future_state(child) == FUTURE_CANCELLED) {
        PyObject *message;
        Py_BEGIN_CRITICAL_SECTION(future_object(child));
        message = child->cancel_message == Py_None ? NULL : Py_XNewRef(child->cancel_message);
        Py_END_CRITICAL_SECTION();
        PyObject *exc = message ? PyObject_CallOneArg(child->st->CancelledError, message)
                                : PyObject_CallFunction(child->st->CancelledError, "s", "");
        Py_XDECREF(message);
        return exc;
    }
    PyObject *exception = child_exception(child);
    return exception != NULL ? Py_NewRef(exception) : future_get_result(child);
}

/* Set the list of results, or a cancellation that was asked for. Return 0, or -1 with an exception. */
static int
finish(GatheringObject *gathering)
{
    PyObject *results = PyList_New(gathering->count);
    if (results == NULL) {
        return -1;
    }
    for (Py_ssize_t i = 0; i < gathering->count; i++) {
        PyObject *outcome = outcome_of(child_core(gathering->children[i]));
        if (outcome == NULL) {
            Py_DECREF(results);
            return -1;
        }
        PyList_SET_ITEM(results, i, outcome);
    }
    FutureCore *core = &gathering->future.core;
    int result = -1;
    if (relaxed_load(&gathering->cancel_requested) && gathering->count > 0) {
        PyObject *last = gathering->children[gathering->count - 1];
        PyObject *exception = future_make_cancelled_error(child_core(last));
        if (exception != NULL) {
            result = future_set_exception_unless_done(core, exception);
            Py_DECREF(exception);
        }
    }
    else {
        result = future_set_result_unless_done(core, results);
    }
    Py_DECREF(results);
    return result < 0 ? -1 : 0;
}

/* End the gathering with the failure of a child. Return 0, or -1 with an exception. */
static int
fail(GatheringObject *gathering, FutureCore *child, PyObject *awaiter)
{
    PyObject *exception = future_state(child) == FUTURE_CANCELLED ? future_make_cancelled_error(child)
                                                           : Py_NewRef(child_exception(child));
    if (exception == NULL) {
        return -1;
    }
    int result = 0;
    for (Py_ssize_t i = 0; awaiter != NULL && result == 0 && i < gathering->count; i++) {
        result = child_await_ends(child->st, gathering->children[i], awaiter);
    }
    if (result == 0) {
        result = future_set_exception_unless_done(&gathering->future.core, exception);
    }
    Py_DECREF(exception);
    return result < 0 ? -1 : 0;
}

static int
child_done(DoneCallback *callback, FutureCore *child, bool Py_UNUSED(in_context))
{
    GatheringObject *gathering = (GatheringObject *)callback->self;
    gathering->unfinished--;
    if (child_await_ends(child->st, future_object(child), callback->extra) < 0) {
        return -1;
    }
    if (!gathering->complete || !future_is_pending(&gathering->future.core)) {
        if (future_state(child) != FUTURE_CANCELLED) {
            child_exception(child);
        }
        return 1;
    }
    if (!gathering->return_exceptions && future_has_failed(child)) {
        return fail(gathering, child, callback->extra) < 0 ? -1 : 1;
    }
    return gathering->unfinished == 0 && finish(gathering) < 0 ? -1 : 1;
}

/* A child that succeeds and is not the last has only to be counted. The future is done a turn after the last
   child, so the callback of that must be queued. */
static bool
absorb_child(DoneCallback *callback, FutureCore *child)
{
    GatheringObject *gathering = (GatheringObject *)callback->self;
    if (gathering == NULL || --gathering->pending <= 0 || gathering->unfinished <= 1
        || future_has_failed(child)) {
        return false;
    }
    if (child_await_ends(child->st, future_object(child), callback->extra) < 0) {
        PyErr_Clear(); /* the callback will raise it */
        return false;
    }
    gathering->unfinished--;
    return true;
}

static const DoneCallbackSpec child_done_spec = {"gather.<locals>._done_callback", child_done,
                                                 absorb_child};

/* ---- making ---------------------------------------------------------------------------------- */

/* A hash table of the arguments by their identity. */
typedef struct {
    PyObject *argument; /* borrowed; NULL: free */
    Py_ssize_t index;
} Seen;

#define SEEN_ON_STACK 32

/* Return the place of an argument in a table of `capacity`, a power of two with room. */
static Seen *
find_seen(Seen *table, size_t capacity, PyObject *argument)
{
    uint64_t hash = (uint64_t)(uintptr_t)argument * UINT64_C(0x9E3779B97F4A7C15);
    size_t at = (size_t)(hash >> 32) & (capacity - 1);
    while (table[at].argument != NULL && table[at].argument != argument) {
        at = (at + 1) & (capacity - 1);
    }
    return &table[at];
}

/* What gather() works with. */
typedef struct {
    GatheringObject *gathering;
    LoopObject *loop;
    PyObject *awaiter;
    PyObject *context;
    DoneCallback *callback;
    PyObject **done; /* the children that were done already, borrowed from the gathering; or NULL */
    Py_ssize_t done_count;
} Making;

/* Note a child that is done already. Return 0, or -1 with MemoryError. */
static int
note_done(Making *making, PyObject *child, Py_ssize_t count)
{
    if (making->done == NULL && (making->done = PyMem_New(PyObject *, count)) == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    making->done[making->done_count++] = child;
    return 0;
}

/* Return the child for an argument that is not a repeated one, with its callback added: a new reference, or
   NULL with an exception. `count`: that of the arguments. */
static PyObject *
new_child(Making *making, PyObject *argument, Py_ssize_t count)
{
    PyObject *child = child_ensure(making->loop, argument);
    if (child == NULL) {
        return NULL;
    }
    if (child != argument) {
        ((TaskObject *)child)->log_destroy_pending = false;
    }
    making->gathering->unfinished++;
    int result;
    FutureCore *core = child_core(child);
    if (GATHER_COUNTS_DONE_CHILDREN && !future_is_pending(core)) {
        result = note_done(making, child, count);
    }
    else {
        making->gathering->pending++;
        result = child_await_begins(core->st, child, making->awaiter);
        if (result == 0) {
            result = future_add_callback(core, (PyObject *)making->callback, making->context);
        }
    }
    if (result < 0) {
        Py_CLEAR(child);
    }
    return child;
}

/* Make the children. Return 0, or -1 with an exception. */
static int
add_children(Making *making, PyObject *const *args, Py_ssize_t count)
{
    GatheringObject *gathering = making->gathering;
    Seen on_stack[SEEN_ON_STACK], *table = on_stack;
    size_t capacity = SEEN_ON_STACK;
    while (capacity < 2 * (size_t)count) {
        capacity *= 2;
    }
    if (capacity > SEEN_ON_STACK && (table = PyMem_New(Seen, capacity)) == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memset(table, 0, capacity * sizeof(*table));
    int result = 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        Seen *seen = find_seen(table, capacity, args[i]);
        PyObject *child;
        if (seen->argument != NULL) {
            child = Py_NewRef(gathering->children[seen->index]);
        }
        else {
            *seen = (Seen){args[i], i};
            child = new_child(making, args[i], count);
        }
        if (child == NULL) {
            result = -1;
            break;
        }
        gathering->children[i] = child;
        gathering->count = i + 1;
    }
    if (table != on_stack) {
        PyMem_Free(table);
    }
    return result;
}

/* Return a new gathering without children; NULL with an exception. */
static GatheringObject *
gathering_new(LoopObject *loop, Py_ssize_t count, bool return_exceptions)
{
    PyTypeObject *type = loop->st->GatheringFutureType;
    GatheringObject *gathering = (GatheringObject *)type->tp_alloc(type, 0);
    if (gathering == NULL) {
        return NULL;
    }
    gathering->return_exceptions = return_exceptions;
    gathering->children = PyMem_New(PyObject *, count);
    if (gathering->children == NULL) {
        PyErr_NoMemory();
        Py_CLEAR(gathering);
    }
    else if (future_core_init(&gathering->future.core, loop->st, (PyObject *)loop) < 0) {
        Py_CLEAR(gathering);
    }
    return gathering;
}

/* Do gather() for native children. Return the future, or NULL with an exception. */
static PyObject *
gather_native(LoopObject *loop, PyObject *const *args, Py_ssize_t count, bool return_exceptions)
{
    Making making = {.loop = loop};
    bool made = false;
    making.gathering = gathering_new(loop, count, return_exceptions);
    if (making.gathering == NULL || children_awaiter(loop, &making.awaiter) < 0
        || (making.context = PyContext_CopyCurrent()) == NULL) {
        goto done;
    }
    making.callback = done_callback_new(loop->st, &child_done_spec, (PyObject *)making.gathering,
                                        making.awaiter);
    if (making.callback == NULL || add_children(&making, args, count) < 0) {
        goto done;
    }
    making.gathering->complete = true;
    made = true;
    for (Py_ssize_t i = 0; made && i < making.done_count; i++) {
        made = child_done(making.callback, child_core(making.done[i]), true) >= 0;
    }
done:
    PyMem_Free(making.done);
    Py_XDECREF(making.callback);
    Py_XDECREF(making.context);
    Py_XDECREF(making.awaiter);
    if (!made) {
        Py_CLEAR(making.gathering);
    }
    return (PyObject *)making.gathering;
}

PyDoc_STRVAR(gather_doc, "gather(*coros_or_futures, return_exceptions=False)\n--\n\n"
"Return a future whose result is the list of the arguments' results, in their order.\n\n"
"The arguments run concurrently; coroutines become tasks. The first exception becomes the\n"
"future's, and the other tasks go on; with return_exceptions=True exceptions are results.\n"
"Cancelling the future cancels its children. asyncio.gather() in C.");

static PyObject *
gather(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    fastaio_state *st = state_of_module(module);
    bool return_exceptions = false, native = count > 0;
    if (keywords != NULL && PyTuple_GET_SIZE(keywords) != 0) {
        native = native && PyTuple_GET_SIZE(keywords) == 1 && PyBool_Check(args[count])
                 && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(keywords, 0),
                                                     "return_exceptions") == 0;
        return_exceptions = native && args[count] == Py_True;
    }
    LoopObject *loop = NULL;
    int found = native ? children_loop(st, &loop) : 0;
    if (found < 0) {
        return NULL;
    }
    native = found > 0;
    for (Py_ssize_t i = 0; native && i < count; i++) {
        native = child_is_native(loop, args[i]);
    }
    PyObject *result =
        native ? gather_native(loop, args, count, return_exceptions)
               : PyObject_Vectorcall(st->primitives->asyncio_gather, args, count, keywords);
    Py_XDECREF(loop);
    return result;
}

/* ---- the type -------------------------------------------------------------------------------- */

/* Do child.cancel(msg=msg). Return its truth, or -1 with an exception. */
static int
cancel_child(fastaio_state *st, PyObject *child, PyObject *message)
{
    PyObject *names = PyTuple_Pack(1, st->str_msg);
    PyObject *stack[] = {child, message};
    PyObject *answer = names ? PyObject_VectorcallMethod(st->str_cancel, stack, 1, names) : NULL;
    Py_XDECREF(names);
    int truth = answer ? PyObject_IsTrue(answer) : -1;
    Py_XDECREF(answer);
    return truth;
}

PyDoc_STRVAR(cancel_doc, "cancel($self, /, msg=None)\n--\n\n"
"Cancel all children. The future is done once they are.\n\n"
"msg: the argument of their CancelledError.\n"
"Return False if the future or all children are done, else True.");

static PyObject *
gathering_cancel(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    GatheringObject *gathering = (GatheringObject *)self;
    FutureCore *core = &gathering->future.core;
    PyObject *message = core_cancel_argument(args, count, keywords);
    if (message == NULL || future_ensure_initialized(core) < 0) {
        return NULL;
    }
    if (!future_is_pending(core)) {
        Py_RETURN_FALSE;
    }
    bool any = false;
    for (Py_ssize_t i = 0; i < gathering->count; i++) {
        int cancelled = cancel_child(core->st, gathering->children[i], message);
        if (cancelled < 0) {
            return NULL;
        }
        any = any || cancelled;
    }
    if (any) {
        relaxed_store(&gathering->cancel_requested, true);
    }
    return PyBool_FromLong(any);
}

static PyObject *
gathering_get_children(PyObject *self, void *Py_UNUSED(closure))
{
    GatheringObject *gathering = (GatheringObject *)self;
    PyObject *list = PyList_New(gathering->count);
    for (Py_ssize_t i = 0; list != NULL && i < gathering->count; i++) {
        PyList_SET_ITEM(list, i, Py_NewRef(gathering->children[i]));
    }
    return list;
}

static int
gathering_traverse(PyObject *self, visitproc visit, void *arg)
{
    GatheringObject *gathering = (GatheringObject *)self;
    for (Py_ssize_t i = 0; i < gathering->count; i++) {
        Py_VISIT(gathering->children[i]);
    }
    return Py_TYPE(self)->tp_base->tp_traverse(self, visit, arg);
}

/* Drop the children. May run code. */
static void
drop_children(GatheringObject *gathering)
{
    PyObject **children = gathering->children;
    Py_ssize_t count = gathering->count;
    gathering->children = NULL;
    gathering->count = 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        Py_DECREF(children[i]);
    }
    PyMem_Free(children);
}

static int
gathering_clear(PyObject *self)
{
    drop_children((GatheringObject *)self);
    return Py_TYPE(self)->tp_base->tp_clear(self);
}

/* Do gathering_dealloc() for an untracked future. */
static void
gathering_drop(PyObject *self)
{
    if (dealloc_finalize(self) < 0) {
        return; /* resurrected */
    }
    PyObject_ClearWeakRefs(self); /* their callbacks run before the fields are freed, as in asyncio */
    drop_children((GatheringObject *)self);
    Py_TYPE(self)->tp_base->tp_dealloc(self);
}

static void
gathering_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    DEALLOC_BOUNDED(self, gathering_dealloc, gathering_drop);
}

static PyMethodDef gathering_methods[] = {
    {"cancel", KEYWORDS(gathering_cancel), METH_FASTCALL | METH_KEYWORDS, cancel_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef gathering_getset[] = {
    {"_children", gathering_get_children, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef gathering_members[] = {
    {"_cancel_requested", T_BOOL, offsetof(GatheringObject, cancel_requested), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot gathering_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("The future that gather() returns.")},
    {Py_tp_dealloc, gathering_dealloc},
    {Py_tp_free, PyObject_GC_Del},
    {Py_tp_traverse, gathering_traverse},
    {Py_tp_clear, gathering_clear},
    {Py_tp_methods, gathering_methods},
    {Py_tp_getset, gathering_getset},
    {Py_tp_members, gathering_members},
    {0, NULL},
};

static PyType_Spec gathering_spec = {
    .name = "fastaio._GatheringFuture",
    .basicsize = sizeof(GatheringObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION
             | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = gathering_slots,
};

static PyMethodDef functions[] = {
    {"gather", KEYWORDS(gather), METH_FASTCALL | METH_KEYWORDS, gather_doc},
    {NULL, NULL, 0, NULL},
};

int
gather_init(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    st->GatheringFutureType = state_add_type(module, &gathering_spec, (PyObject *)st->FutureType);
    if (st->GatheringFutureType == NULL) {
        return -1;
    }
    st->GatheringFutureType->tp_name = "_GatheringFuture"; /* for error messages, as of a Python class */
    return PyModule_AddFunctions(module, functions);
}
