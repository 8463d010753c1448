/* handle.c: the types Handle and TimerHandle. turn/run.c runs handles. */
#include "loop/handle.h"

#include "loop/loop.h"
#include <structmember.h>

/* ---- making ---------------------------------------------------------------------------------- */

/* Give a new handle its arguments. Return 0, or -1 with MemoryError. */
static int
handle_set_args(HandleObject *handle, PyObject *const *args, Py_ssize_t count)
{
    handle->arg_count = 0;
    handle->packed = count > HANDLE_INLINE_ARGS;
    if (handle->packed) {
        PyObject *tuple = PyTuple_New(count);
        if (tuple == NULL) {
            return -1;
        }
        for (Py_ssize_t i = 0; i < count; i++) {
            PyTuple_SET_ITEM(tuple, i, Py_NewRef(args[i]));
        }
        handle->args[handle->arg_count++] = tuple;
        return 0;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        handle->args[i] = Py_NewRef(args[i]);
    }
    handle->arg_count = (uint8_t)count;
    return 0;
}

HandleObject *
handle_new(fastaio_state *st, PyObject *loop, PyObject *callback, PyObject *const *args,
           Py_ssize_t arg_count, PyObject *context, bool timer)
{
    context = context ? Py_NewRef(context) : PyContext_CopyCurrent();
    if (context == NULL) {
        return NULL;
    }
    PyTypeObject *type = timer ? st->TimerHandleType : st->HandleType;
    HandleObject *handle = (HandleObject *)pool_take(&st->handle_pool, type);
    if (handle == NULL) {
        Py_DECREF(context);
        return NULL;
    }
    handle->callback = Py_NewRef(callback);
    handle->context = context;
    handle->loop = Py_NewRef(loop);
    handle->weakrefs = NULL;
    handle->notes = NULL;
    handle->runner = 0;
    handle->cancelled = handle->scheduled = handle->guarded = false;
    handle->is_timer = timer;
    int args_set = handle_set_args(handle, args, arg_count);
    LoopObject *native = (LoopObject *)loop;
    if (!claim_is_mine(&native->claim) || native->run_count == 0) { /* a run that another thread does may end now */
        PyObject_GC_Track(handle);
    }
    if (args_set < 0) {
        Py_CLEAR(handle);
    }
    return handle;
}

HandleNotes *
handle_notes(HandleObject *handle)
{
    if (handle->notes == NULL) {
        HandleNotes *notes = PyMem_Calloc(1, sizeof(HandleNotes));
        if (notes == NULL) {
            PyErr_NoMemory();
        }
        shared_store(&handle->notes, notes); /* timer_when() in another thread looks into them */
    }
    return handle->notes;
}

PyObject *
handle_callback(HandleObject *handle)
{
    PyObject *callback;
    Py_BEGIN_CRITICAL_SECTION(handle);
    callback = Py_XNewRef(handle->callback);
    Py_END_CRITICAL_SECTION();
    return callback;
}

PyObject *
handle_source(HandleObject *handle)
{
    PyObject *source;
    Py_BEGIN_CRITICAL_SECTION(handle);
    source = handle->notes != NULL ? Py_XNewRef(handle->notes->source_tb) : NULL;
    Py_END_CRITICAL_SECTION();
    return source;
}

int
handle_keep_source(fastaio_state *st, HandleObject *handle)
{
    HandleNotes *notes = handle_notes(handle);
    PyObject *stack = notes ? PyObject_CallNoArgs(st->handle_extract_stack) : NULL;
    if (stack == NULL) {
        return -1;
    }
    Py_XSETREF(notes->source_tb, stack);
    return 0;
}

/* ---- guarded handles ------------------------------------------------------------------------- */

/* asyncio has a lock in each handle. Here a thread that has to wait makes the lock, so a call that no thread
   waits for costs two stores. The GIL guards all fields, without one the handle's critical section. */
struct RunEnd {
    PyThread_type_lock lock; /* taken when it is made; the runner releases it at the end of the call */
    int users;               /* the runner and the waiting threads; the last one frees the struct */
};

static RunEnd *
run_end_new(void)
{
    RunEnd *end = PyMem_RawCalloc(1, sizeof(*end));
    if (end == NULL || (end->lock = PyThread_allocate_lock()) == NULL) {
        PyMem_RawFree(end);
        PyErr_NoMemory();
        return NULL;
    }
    PyThread_acquire_lock(end->lock, NOWAIT_LOCK);
    end->users = 1;
    return end;
}

static void
run_end_drop(RunEnd *end)
{
    if (--end->users == 0) {
        PyThread_free_lock(end->lock);
        PyMem_RawFree(end);
    }
}

/* Wait for the end of the call. Return 0; or -1 with the exception of a signal handler, and the call may
   still run. */
static int
run_end_await(RunEnd *end)
{
    PyLockStatus status;
    int result = 0;
    end->users++;
    do {
        Py_BEGIN_ALLOW_THREADS
        status = PyThread_acquire_lock_timed(end->lock, -1, 1);
        Py_END_ALLOW_THREADS
    } while (status == PY_LOCK_INTR && (result = PyErr_CheckSignals()) == 0);
    if (status == PY_LOCK_ACQUIRED) {
        PyThread_release_lock(end->lock); /* for the next waiting thread */
    }
    run_end_drop(end);
    return result;
}

/* Wait until no other thread runs the callback. Return 0, or -1 with an exception. */
static int
handle_wait(HandleObject *handle)
{
    while (handle->runner && handle->runner != PyThread_get_thread_ident()) {
        if (handle->run_end == NULL && (handle->run_end = run_end_new()) == NULL) {
            return -1;
        }
        if (run_end_await(handle->run_end) < 0) {
            return -1;
        }
    }
    return 0;
}

int
handle_enter(HandleObject *handle)
{
    int entered;
    Py_BEGIN_CRITICAL_SECTION(handle);
    entered = handle_wait(handle);
    if (entered == 0 && handle->runner == 0) {
        handle->runner = PyThread_get_thread_ident();
        handle->run_end = NULL;
        entered = 1;
    }
    Py_END_CRITICAL_SECTION();
    return entered;
}

void
handle_leave(HandleObject *handle)
{
    Py_BEGIN_CRITICAL_SECTION(handle);
    handle->runner = 0;
    if (handle->run_end != NULL) {
        PyThread_release_lock(handle->run_end->lock);
        run_end_drop(handle->run_end);
    }
    Py_END_CRITICAL_SECTION();
}

/* ---- life ------------------------------------------------------------------------------------ */

/* Give the handle `count` other arguments, whose references are taken over. Drop the old ones last: that may
   run code which reads the arguments or sets them again. */
static void
handle_replace_args(HandleObject *handle, PyObject *const *args, int count, bool packed)
{
    PyObject *old[HANDLE_INLINE_ARGS];
    int old_count = handle->arg_count;
    for (int i = 0; i < old_count; i++) {
        old[i] = handle->args[i];
    }
    for (int i = 0; i < count; i++) {
        handle->args[i] = args[i];
    }
    handle->arg_count = (uint8_t)count;
    handle->packed = packed;
    while (old_count) {
        Py_DECREF(old[--old_count]);
    }
}

static void
handle_drop_call(HandleObject *handle)
{
    Py_CLEAR(handle->callback);
    handle_replace_args(handle, NULL, 0, false);
}

static int
handle_clear(HandleObject *handle)
{
    handle_drop_call(handle);
    Py_CLEAR(handle->context);
    Py_CLEAR(handle->loop);
    if (handle->notes != NULL) {
        Py_CLEAR(handle->notes->source_tb);
        Py_CLEAR(handle->notes->repr);
        Py_CLEAR(handle->notes->when);
    }
    return 0;
}

static int
handle_traverse(HandleObject *handle, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(handle));
    Py_VISIT(handle->callback);
    for (int i = 0; i < handle->arg_count; i++) {
        Py_VISIT(handle->args[i]);
    }
    Py_VISIT(handle->context);
    Py_VISIT(handle->loop);
    if (handle->notes != NULL) {
        Py_VISIT(handle->notes->source_tb);
        Py_VISIT(handle->notes->repr);
        Py_VISIT(handle->notes->when);
    }
    return 0;
}

static void
handle_drop(HandleObject *handle)
{
    PyTypeObject *type = Py_TYPE(handle);
    if (shared_load(&handle->weakrefs) != NULL) {
        PyObject_ClearWeakRefs((PyObject *)handle);
    }
    handle_clear(handle);
    PyMem_Free(handle->notes);
    fastaio_state *st = state_of_dying(type);
    pool_give(st ? &st->handle_pool : NULL, (PyObject *)handle);
    Py_DECREF(type);
}

static void
handle_dealloc(HandleObject *handle)
{
    PyObject_GC_UnTrack(handle);
    DEALLOC_BOUNDED(handle, handle_dealloc, handle_drop);
}

/* ---- methods --------------------------------------------------------------------------------- */

static fastaio_state *
state_of_handle(HandleObject *handle)
{
    return PyType_GetModuleState(Py_TYPE(handle));
}

static PyObject *
base_class(HandleObject *handle)
{
    fastaio_state *st = state_of_handle(handle);
    return handle->is_timer ? st->asyncio_TimerHandle : st->asyncio_Handle;
}

/* Return the value of `__class__`, borrowed. */
static PyObject *
apparent_class(HandleObject *handle)
{
    fastaio_state *st = state_of_handle(handle);
    return handle->guarded && st->asyncio_ThreadSafeHandle != Py_None ? st->asyncio_ThreadSafeHandle
                                                                      : base_class(handle);
}

PyObject *
handle_guarding_loop(HandleObject *handle)
{
    return handle->guarded ? NULL : handle->loop;
}

static PyObject *
loop_of_handle(PyObject *self)
{
    return handle_guarding_loop((HandleObject *)self);
}

GUARD_REPR(handle_repr, loop_of_handle)

static PyObject *
handle_repr(PyObject *self)
{
    return PyObject_CallMethod(base_class((HandleObject *)self), "__repr__", "O", self);
}

static PyObject *
handle_repr_info(HandleObject *handle, PyObject *Py_UNUSED(ignored))
{
    return PyObject_CallMethod(base_class(handle), "_repr_info", "O", handle);
}

/* Keep the repr() of a handle that is about to lose its call, for debug mode. Return 0, or -1 with an
   exception. */
static int
handle_keep_repr(HandleObject *handle)
{
    PyObject *repr = handle_repr((PyObject *)handle);
    HandleNotes *notes = repr ? handle_notes(handle) : NULL;
    if (notes == NULL) {
        Py_XDECREF(repr);
        return -1;
    }
    Py_XSETREF(notes->repr, repr);
    return 0;
}

PyDoc_STRVAR(handle_cancel_doc, "cancel($self, /)\n--\n\n"
"Cancel the callback: it will not run. Cancelling again has no effect.");

int
handle_cancel(HandleObject *handle)
{
    if (handle->guarded && handle_wait(handle) < 0) {
        return -1;
    }
    if (handle->cancelled || handle->loop == NULL) {
        return 0;
    }
    relaxed_store(&handle->cancelled, true);
    /* Only the loops of this module make these handles. */
    LoopObject *loop = (LoopObject *)handle->loop;
    /* This comes before any code runs: the timers count their cancelled ones. */
    if (handle->scheduled) {
        timers_cancelled(&loop->timers, (PyObject *)handle);
    }
    if (relaxed_load(&loop->watchdog.debug) && handle_keep_repr(handle) < 0) {
        return -1;
    }
    handle_drop_call(handle);
    return 0;
}

static PyObject *
handle_cancel_method(HandleObject *handle, PyObject *Py_UNUSED(ignored))
{
    return handle_cancel(handle) < 0 ? NULL : Py_NewRef(Py_None);
}

PyDoc_STRVAR(handle_cancelled_doc, "cancelled($self, /)\n--\n\n"
"Return True if the callback was cancelled.");

static PyObject *
handle_cancelled(HandleObject *handle, PyObject *Py_UNUSED(ignored))
{
    int result;
    Py_BEGIN_CRITICAL_SECTION(handle);
    result = handle->guarded ? handle_wait(handle) : 0;
    if (result == 0) {
        result = relaxed_load(&handle->cancelled);
    }
    Py_END_CRITICAL_SECTION();
    return result < 0 ? NULL : PyBool_FromLong(result);
}

PyDoc_STRVAR(handle_get_context_doc, "get_context($self, /)\n--\n\n"
"Return the contextvars.Context that the callback runs in.");

static PyObject *
handle_get_context(HandleObject *handle, PyObject *Py_UNUSED(ignored))
{
    return Py_NewRef(handle->context ? handle->context : Py_None);
}

/* Call _run() of asyncio's class, or its replacement. asyncio's reports exceptions of the callback, and uses
   only attributes that this type has. */
static PyObject *
run_by_class(HandleObject *handle)
{
    fastaio_state *st = state_of_handle(handle);
    bool guard_is_replaced =
        handle->guarded && watched_name_is_replaced(&st->replaced.guarded_run);
    PyObject *type = guard_is_replaced ? apparent_class(handle) : base_class(handle);
    PyObject *run = bind_attribute(type, st->str__run, (PyObject *)handle);
    PyObject *result = run ? PyObject_CallNoArgs(run) : NULL;
    Py_XDECREF(run);
    return result;
}

static PyObject *
handle_run_method(HandleObject *handle, PyObject *Py_UNUSED(ignored))
{
    int entered = handle->guarded ? handle_enter(handle) : 0;
    if (entered < 0) {
        return NULL;
    }
    PyObject *result = handle->guarded && handle->cancelled
                           ? Py_NewRef(Py_None)
                           : run_by_class(handle);
    if (entered) {
        handle_leave(handle);
    }
    return result;
}

/* Return a lock without effect for asyncio's _ThreadSafeHandle._run(): its caller has entered the handle. */
static PyObject *
handle_get_lock(HandleObject *handle, void *Py_UNUSED(closure))
{
    if (!handle->guarded) {
        PyErr_SetString(PyExc_AttributeError, "'Handle' object has no attribute '_lock'");
        return NULL;
    }
    return PyObject_CallNoArgs(state_of_handle(handle)->nullcontext);
}

PyDoc_STRVAR(timer_when_doc, "when($self, /)\n--\n\n"
"Return the time of the callback, in seconds of loop.time().");

static PyObject *
timer_when(HandleObject *handle, PyObject *Py_UNUSED(ignored))
{
    HandleNotes *notes = shared_load(&handle->notes);
    return notes && notes->when ? Py_NewRef(notes->when) : PyFloat_FromDouble(handle->when);
}

static PyObject *
timer_get_when(HandleObject *handle, void *Py_UNUSED(closure))
{
    return timer_when(handle, NULL);
}

static PyObject *
handle_get_class(HandleObject *handle, void *Py_UNUSED(closure))
{
    return Py_NewRef(apparent_class(handle));
}

static PyObject *
handle_get_args(HandleObject *handle, void *Py_UNUSED(closure))
{
    if (handle->callback == NULL) {
        Py_RETURN_NONE;
    }
    if (handle->packed) {
        return Py_NewRef(handle->args[0]);
    }
    /* Take references first: making the tuple may start the collector, which runs code. */
    PyObject *items[HANDLE_INLINE_ARGS];
    int count = handle->arg_count;
    for (int i = 0; i < count; i++) {
        items[i] = Py_NewRef(handle->args[i]);
    }
    PyObject *args = PyTuple_New(count);
    for (int i = 0; i < count; i++) {
        if (args != NULL) {
            PyTuple_SET_ITEM(args, i, items[i]);
        }
        else {
            Py_DECREF(items[i]);
        }
    }
    return args;
}

static int
handle_assign_args(HandleObject *handle, PyObject *value, void *Py_UNUSED(closure))
{
    PyObject *args = value ? PySequence_Tuple(value) : PyTuple_New(0);
    if (args == NULL) {
        return -1;
    }
    handle_replace_args(handle, &args, 1, true);
    return 0;
}

/* Get or set a field of the notes. `closure`: its offset. */
static PyObject *
handle_get_note(HandleObject *handle, void *closure)
{
    PyObject *note = NULL;
    if (handle->notes != NULL) {
        note = *(PyObject **)((char *)handle->notes + (size_t)closure);
    }
    return Py_NewRef(note ? note : Py_None);
}

static int
handle_set_note(HandleObject *handle, PyObject *value, void *closure)
{
    HandleNotes *notes = handle_notes(handle);
    if (notes == NULL) {
        return -1;
    }
    Py_XSETREF(*(PyObject **)((char *)notes + (size_t)closure), Py_XNewRef(value));
    return 0;
}

static PyObject *
handle_get_cancelled(HandleObject *handle, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(handle->cancelled);
}

static PyObject *
timer_get_scheduled(HandleObject *handle, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(handle->scheduled);
}

/* Return 1 if `a op b`, 0, or -1 with an exception. Takes over both references; NULL means that an exception
   is raised already. */
static int
compare_fields(PyObject *a, PyObject *b, int op)
{
    PyObject *answer = a && b ? PyObject_RichCompare(a, b, op) : NULL;
    int result = answer ? PyObject_IsTrue(answer) : -1;
    Py_XDECREF(answer);
    Py_XDECREF(a);
    Py_XDECREF(b);
    return result;
}

static int
compare_when(HandleObject *a, HandleObject *b, int op)
{
    if (a->notes == NULL && b->notes == NULL) {
        return op == Py_LT   ? a->when < b->when
               : op == Py_GT ? a->when > b->when
                             : a->when == b->when;
    }
    return compare_fields(timer_when(a, NULL), timer_when(b, NULL), op);
}

/* Return 1 if two timers are equal as in asyncio: the same time and the same call; 0, or -1 with an
   exception. */
static int
timers_are_equal(HandleObject *a, HandleObject *b)
{
    int equal = compare_when(a, b, Py_EQ);
    if (equal > 0) {
        equal = compare_fields(Py_NewRef(a->callback ? a->callback : Py_None),
                               Py_NewRef(b->callback ? b->callback : Py_None), Py_EQ);
    }
    if (equal > 0) {
        equal = compare_fields(handle_get_args(a, NULL), handle_get_args(b, NULL), Py_EQ);
    }
    return equal > 0 ? a->cancelled == b->cancelled : equal;
}

GUARD_COMPARE(timer_compare, loop_of_handle)

/* Compare as asyncio does: <= and >= are true if the strict order is, or if both timers are equal. */
static PyObject *
timer_compare(PyObject *self, PyObject *other, int op)
{
    fastaio_state *st = state_of_handle((HandleObject *)self);
    if (!Py_IS_TYPE(other, st->TimerHandleType)) {
        Py_RETURN_NOTIMPLEMENTED;
    }
    HandleObject *a = (HandleObject *)self, *b = (HandleObject *)other;
    int result = 0;
    if (op != Py_EQ && op != Py_NE) {
        result = compare_when(a, b, op == Py_LT || op == Py_LE ? Py_LT : Py_GT);
    }
    if (result == 0 && op != Py_LT && op != Py_GT) {
        result = timers_are_equal(a, b);
        if (op == Py_NE && result >= 0) {
            result = !result;
        }
    }
    return result < 0 ? NULL : PyBool_FromLong(result);
}

/* The deadline does not change, so any thread may ask for the hash. */
static Py_hash_t
timer_hash(HandleObject *handle)
{
    PyObject *when = timer_when(handle, NULL);
    if (when == NULL) {
        return -1;
    }
    Py_hash_t hash = PyObject_Hash(when);
    Py_DECREF(when);
    return hash;
}

/* ---- types ----------------------------------------------------------------------------------- */

static PyMemberDef handle_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(HandleObject, weakrefs), READONLY, NULL},
    {"_callback", T_OBJECT, offsetof(HandleObject, callback), 0, NULL},
    {"_context", T_OBJECT, offsetof(HandleObject, context), READONLY, NULL},
    {"_loop", T_OBJECT, offsetof(HandleObject, loop), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

#define NOTE(name, field)                                                                          \
    {name, (getter)handle_get_note, (setter)handle_set_note, NULL,                                 \
     (void *)offsetof(HandleNotes, field)}

#define HANDLE_GETSET                                                                              \
    {"__class__", (getter)handle_get_class, NULL, NULL, NULL},                                     \
    {"_args", (getter)handle_get_args, (setter)handle_assign_args, NULL, NULL},                    \
    {"_cancelled", (getter)handle_get_cancelled, NULL, NULL, NULL},                                \
    NOTE("_source_traceback", source_tb),                                                          \
    NOTE("_repr", repr)

static PyGetSetDef handle_getset[] = {
    HANDLE_GETSET,
    {"_lock", (getter)handle_get_lock, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyGetSetDef timer_getset[] = {
    HANDLE_GETSET,
    {"_when", (getter)timer_get_when, NULL, NULL, NULL},
    {"_scheduled", (getter)timer_get_scheduled, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

#define HANDLE_METHODS                                                                             \
    {"cancel", (PyCFunction)handle_cancel_method, METH_NOARGS, handle_cancel_doc},                        \
    {"cancelled", (PyCFunction)handle_cancelled, METH_NOARGS, handle_cancelled_doc},               \
    {"get_context", (PyCFunction)handle_get_context, METH_NOARGS, handle_get_context_doc},         \
    {"_repr_info", (PyCFunction)handle_repr_info, METH_NOARGS, NULL},                              \
    {"_run", (PyCFunction)handle_run_method, METH_NOARGS, NULL}

static PyMethodDef handle_methods[] = {
    HANDLE_METHODS,
    {NULL, NULL, 0, NULL},
};

static PyMethodDef timer_methods[] = {
    HANDLE_METHODS,
    {"when", (PyCFunction)timer_when, METH_NOARGS, timer_when_doc},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(handle_doc, "A callback that call_soon() has scheduled; as asyncio.Handle.");
PyDoc_STRVAR(timer_doc, "A callback that call_later() has scheduled; as asyncio.TimerHandle.");

static PyType_Slot handle_slots[] = {
    {Py_tp_doc, (void *)handle_doc},
    {Py_tp_dealloc, handle_dealloc},
    {Py_tp_traverse, handle_traverse},
    {Py_tp_clear, handle_clear},
    {Py_tp_repr, GUARDED(handle_repr)},
    {Py_tp_methods, handle_methods},
    {Py_tp_members, handle_members},
    {Py_tp_getset, handle_getset},
    {0, NULL},
};

static PyType_Slot timer_slots[] = {
    {Py_tp_doc, (void *)timer_doc},
    {Py_tp_dealloc, handle_dealloc},
    {Py_tp_traverse, handle_traverse},
    {Py_tp_clear, handle_clear},
    {Py_tp_repr, GUARDED(handle_repr)},
    {Py_tp_richcompare, GUARDED(timer_compare)},
    {Py_tp_hash, timer_hash},
    {Py_tp_methods, timer_methods},
    {Py_tp_members, handle_members},
    {Py_tp_getset, timer_getset},
    {0, NULL},
};

#define HANDLE_FLAGS                                                                               \
    (Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION                   \
     | Py_TPFLAGS_IMMUTABLETYPE)

static PyType_Spec handle_spec = {
    .name = "fastaio._fastaio.Handle",
    .basicsize = sizeof(HandleObject),
    .flags = HANDLE_FLAGS,
    .slots = handle_slots,
};

static PyType_Spec timer_spec = {
    .name = "fastaio._fastaio.TimerHandle",
    .basicsize = sizeof(HandleObject),
    .flags = HANDLE_FLAGS,
    .slots = timer_slots,
};

static const char *const free_names[] = {
    "__class__", "_context", "cancelled", "get_context", "when", NULL,
};

static const GuardRules handle_rules = {loop_of_handle, free_names};

int
handle_types_init(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    st->HandleType = state_add_type(module, &handle_spec, NULL);
    st->TimerHandleType = state_add_type(module, &timer_spec, NULL);
    return st->HandleType == NULL || st->TimerHandleType == NULL
                   || guard_type(st, st->HandleType, &handle_rules) < 0
                   || guard_type(st, st->TimerHandleType, &handle_rules) < 0
               ? -1
               : 0;
}
