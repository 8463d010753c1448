/* view.c: the ready queue and the timers as asyncio's handles, for tracers and debuggers. */
#include "turn/view.h"

#include "loop/handle.h"
#include "task/task.h"
#include <structmember.h>

/* ---- native entries as callables ------------------------------------------------------------- */

/* A native entry of the ready queue as the callback of a Handle. Runs once. */
typedef struct {
    PyObject_HEAD
    ready_fn fn; /* NULL once it has run */
    PyObject *loop;
    PyObject *owner; /* as __self__; or NULL */
} NativeCall;

static PyObject *
native_call_new(LoopObject *loop, ready_fn fn, PyObject *owner)
{
    NativeCall *call = PyObject_GC_New(NativeCall, loop->st->NativeCallType);
    if (call != NULL) {
        call->fn = fn;
        call->loop = Py_NewRef((PyObject *)loop);
        call->owner = Py_XNewRef(owner);
        PyObject_GC_Track(call);
    }
    return (PyObject *)call;
}

#ifdef Py_GIL_DISABLED
static PyObject *
loop_of_call(PyObject *op)
{
    return ((NativeCall *)op)->loop;
}
#endif

GUARD_CALL(native_call_call, loop_of_call)
GUARD_REPR(native_call_repr, loop_of_call)

static PyObject *
native_call_call(PyObject *op, PyObject *args, PyObject *kwargs)
{
    NativeCall *self = (NativeCall *)op;
    ready_fn fn = self->fn;
    if (PyTuple_GET_SIZE(args) || (kwargs != NULL && PyDict_GET_SIZE(kwargs))) {
        PyErr_SetString(PyExc_TypeError, "this callback takes no arguments");
        return NULL;
    }
    self->fn = NULL;
    if (fn != NULL && self->loop != NULL && fn((LoopObject *)self->loop, self->owner) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
native_call_name(NativeCall *self, void *Py_UNUSED(closure))
{
    const char *type = self->owner ? Py_TYPE(self->owner)->tp_name : "EventLoop";
    const char *dot = strrchr(type, '.');
    return PyUnicode_FromFormat("%s._ready", dot ? dot + 1 : type);
}

static PyObject *
native_call_repr(PyObject *op)
{
    NativeCall *self = (NativeCall *)op;
    PyObject *name = native_call_name(self, NULL);
    PyObject *repr =
        name ? PyUnicode_FromFormat("<native callback %U of %R>", name,
                                    self->owner ? self->owner : Py_None)
             : NULL;
    Py_XDECREF(name);
    return repr;
}

static int
native_call_traverse(NativeCall *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->loop);
    Py_VISIT(self->owner);
    return 0;
}

static int
native_call_clear(NativeCall *self)
{
    Py_CLEAR(self->loop);
    Py_CLEAR(self->owner);
    return 0;
}

static void
native_call_dealloc(NativeCall *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    native_call_clear(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyMemberDef native_call_members[] = {
    {"__self__", T_OBJECT, offsetof(NativeCall, owner), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef native_call_getset[] = {
    {"__name__", (getter)native_call_name, NULL, NULL, NULL},
    {"__qualname__", (getter)native_call_name, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot native_call_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("A native callback of the loop: of a transport, or of an operation.")},
    {Py_tp_call, GUARDED(native_call_call)},
    {Py_tp_repr, GUARDED(native_call_repr)},
    {Py_tp_traverse, native_call_traverse},
    {Py_tp_clear, native_call_clear},
    {Py_tp_dealloc, native_call_dealloc},
    {Py_tp_members, native_call_members},
    {Py_tp_getset, native_call_getset},
    {0, NULL},
};

static PyType_Spec native_call_spec = {
    .name = "fastaio._fastaio.NativeCall",
    .basicsize = sizeof(NativeCall),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION
             | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = native_call_slots,
};

/* ---- entries as handles ---------------------------------------------------------------------- */

/* Return a new handle of a callback, whose reference is taken over, with one argument or none (*arg is
   NULL). `context` NULL: a copy of the current one. Return NULL with an exception, which is already
   raised if the callback is NULL. */
static HandleObject *
handle_of_callback(LoopObject *loop, PyObject *callback, PyObject *const *arg, PyObject *context)
{
    HandleObject *handle = NULL;
    if (callback != NULL) {
        handle = handle_new(loop->st, (PyObject *)loop, callback, arg, *arg != NULL, context, false);
        Py_DECREF(callback);
    }
    return handle;
}

HandleObject *
loop_entry_handle(LoopObject *loop, const ReadyEntry *entry)
{
    static PyObject *const no_argument = NULL;
    TaskObject *task = (TaskObject *)entry->obj;
    HandleObject *handle = NULL;
    switch (entry->kind) {
    case READY_HANDLE:
        handle = (HandleObject *)Py_NewRef(entry->obj);
        break;
    case READY_TASK_STEP:
        handle = handle_of_callback(loop, task_step_callable(task), &entry->arg, task->context);
        break;
    case READY_TASK_WAKEUP:
        handle = handle_of_callback(loop, task_wakeup_callable(task), &entry->arg, task->context);
        break;
    case READY_FUTURE_CALLBACK:
        handle = handle_of_callback(loop, Py_NewRef(entry->obj), &entry->arg, entry->context);
        break;
    case READY_NATIVE:
        handle = handle_of_callback(loop, native_call_new(loop, entry->fn, entry->obj),
                                    &no_argument, NULL);
        break;
    }
    if (handle != NULL) {
        handle_track((PyObject *)handle);
    }
    return handle;
}

int
loop_run_traced(LoopObject *loop, ReadyEntry *entry)
{
    HandleObject *handle = loop_entry_handle(loop, entry);
    if (handle == NULL) {
        return -1;
    }
    int result = 0;
    if (!handle->cancelled) {
        result = drop_result(PyObject_CallMethodNoArgs((PyObject *)handle, loop->st->str__run));
    }
    Py_DECREF(handle);
    return result;
}

/* ---- _ready ---------------------------------------------------------------------------------- */

static bool
is_same_entry(const ReadyEntry *a, const ReadyEntry *b)
{
    return a->kind == b->kind && a->obj == b->obj && a->arg == b->arg
           && (a->kind != READY_NATIVE || a->fn == b->fn);
}

/* Return a new reference to the entry at an index as a Handle, and put that into the queue in its place:
   a second look finds the same handle, and cancel() works. Making the handle may run code that
   changes the queue; then nothing is replaced. NULL with an exception. */
static HandleObject *
entry_to_handle(LoopObject *loop, size_t index)
{
    ReadyQueue *ready = &loop->ready;
    ReadyEntry before = *ready_at(ready, ready->head + index);
    Py_XINCREF(before.obj); /* code that runs while the Handle is made may drop the entry */
    Py_XINCREF(before.arg);
    PyObject *context = before.kind == READY_FUTURE_CALLBACK ? Py_NewRef(before.context) : NULL;
    HandleObject *handle = loop_entry_handle(loop, &before);
    ReadyEntry *now = index < ready_len(ready) ? ready_at(ready, ready->head + index) : NULL;
    if (handle != NULL && now != NULL && before.kind != READY_HANDLE
        && is_same_entry(now, &before)) {
        ReadyEntry old = *now;
        *now = (ReadyEntry){.kind = READY_HANDLE, .obj = Py_NewRef((PyObject *)handle)};
        ready_drop(&old);
    }
    Py_XDECREF(context);
    Py_XDECREF(before.arg);
    Py_XDECREF(before.obj);
    return handle;
}

PyObject *
loop_get_ready(LoopObject *loop, void *Py_UNUSED(closure))
{
    if (loop_collect_inbox(loop) < 0) {
        return NULL;
    }
    PyObject *list = PyList_New(0), *deque = NULL;
    size_t end = relaxed_load(&loop->closed) ? 0 : SIZE_MAX; /* close() drops what is queued without a look */
    for (size_t i = 0; list != NULL && i < end && i < ready_len(&loop->ready); i++) {
        HandleObject *handle = entry_to_handle(loop, i);
        if (handle == NULL || PyList_Append(list, (PyObject *)handle) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF((PyObject *)handle);
    }
    if (list != NULL) {
        deque = PyObject_CallOneArg(loop->st->deque, list);
        Py_DECREF(list);
    }
    return deque;
}

/* Queue a handle, native or asyncio's. Return 0, or -1 with an exception. */
static int
queue_handle(LoopObject *loop, PyObject *handle)
{
    fastaio_state *st = loop->st;
    if (!Py_IS_TYPE(handle, st->HandleType) && !Py_IS_TYPE(handle, st->TimerHandleType)) {
        return drop_result(PyObject_CallMethod((PyObject *)loop, "_add_callback", "O", handle));
    }
    ReadyEntry *entry = ready_push(&loop->ready);
    if (entry == NULL) {
        return -1;
    }
    *entry = (ReadyEntry){.kind = READY_HANDLE, .obj = Py_NewRef(handle)};
    return 0;
}

/* Return a new list of the assigned handles; NULL with an exception. */
static PyObject *
assigned_handles(PyObject *value)
{
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "cannot delete attribute");
        return NULL;
    }
    return PySequence_List(value);
}

int
loop_set_ready(LoopObject *loop, PyObject *value, void *Py_UNUSED(closure))
{
    PyObject *handles = assigned_handles(value);
    if (handles == NULL) {
        return -1;
    }
    if (loop_collect_inbox(loop) < 0) {
        Py_DECREF(handles);
        return -1;
    }
    ReadyQueue old = loop->ready;
    int result = 0;
    loop->ready = (ReadyQueue){0};
    loop->bulk.scheduled = false; /* its entry was in the old queue */
    for (Py_ssize_t i = 0; result == 0 && i < PyList_GET_SIZE(handles); i++) {
        result = queue_handle(loop, PyList_GET_ITEM(handles, i));
    }
    ready_clear(&old);
    Py_DECREF(handles);
    return result;
}

/* ---- _scheduled ------------------------------------------------------------------------------ */

PyObject *
loop_get_scheduled(LoopObject *loop, void *Py_UNUSED(closure))
{
    return relaxed_load(&loop->closed) ? PyList_New(0) : timers_list(&loop->timers);
}

int
loop_set_scheduled(LoopObject *loop, PyObject *value, void *Py_UNUSED(closure))
{
    PyObject *handles = assigned_handles(value);
    if (handles == NULL) {
        return -1;
    }
    int result = 0;
    timers_clear(&loop->timers);
    for (Py_ssize_t i = 0; result == 0 && i < PyList_GET_SIZE(handles); i++) {
        HandleObject *handle = (HandleObject *)PyList_GET_ITEM(handles, i);
        if (!Py_IS_TYPE(handle, loop->st->TimerHandleType) || handle->loop != (PyObject *)loop) {
            PyErr_Format(PyExc_TypeError, "%R is no timer of this loop", handle);
            result = -1;
        }
        else if (!handle->scheduled && !handle->cancelled) {
            result = timers_push(&loop->timers, handle->when, (PyObject *)handle);
        }
    }
    Py_DECREF(handles);
    return result;
}

int
loop_view_init(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    st->NativeCallType = (PyTypeObject *)PyType_FromModuleAndSpec(module, &native_call_spec, NULL);
    if (st->NativeCallType == NULL) {
        return -1;
    }
    compat_immortalise(st->NativeCallType);
    return 0;
}
