/* streamreader.c: the state of a native stream reader, and how received data gets into it. */
#include "reader/streamreader_impl.h"

/* ---- is all as asyncio made it? -------------------------------------------------------------- */

static const char *const reader_functions[] = {
    "feed_data", "_wakeup_waiter", "_wait_for_data", "_maybe_resume_transport", "read",
    "readline",  "readexactly",    "readuntil",      "__anext__",               "exception",
    "at_eof",    NULL,
};
static const char *const protocol_functions[] = {"data_received", "_stream_reader", NULL};

/* Appends (class, name, what the class has under that name). */
static int
note_functions(PyObject *notes, PyObject *owner, const char *const *names)
{
    for (; *names != NULL; names++) {
        PyObject *function = PyObject_GetAttrString(owner, *names);
        PyObject *name = PyUnicode_InternFromString(*names);
        PyObject *note = function && name ? PyTuple_Pack(3, owner, name, function) : NULL;
        int rc = note ? PyList_Append(notes, note) : -1;
        Py_XDECREF(function);
        Py_XDECREF(name);
        Py_XDECREF(note);
        if (rc < 0) {
            return -1;
        }
    }
    return 0;
}

static int
compare_functions(PyObject *notes)
{
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(notes); i++) {
        PyObject *note = PyList_GET_ITEM(notes, i);
        PyObject *now;
        if (PyObject_GetOptionalAttr(PyTuple_GET_ITEM(note, 0), PyTuple_GET_ITEM(note, 1), &now) <
            0) {
            return -1;
        }
        Py_XDECREF(now);
        if (now != PyTuple_GET_ITEM(note, 2)) {
            return 0;
        }
    }
    return 1;
}

/* Whether asyncio's two classes have their own methods: looked at again once a class changes. */
static int
classes_are_intact(fastaio_state *st)
{
    ReaderClasses *classes = &st->reader_classes;
    PyTypeObject *reader = (PyTypeObject *)st->asyncio_StreamReader;
    PyTypeObject *protocol = (PyTypeObject *)st->asyncio_StreamReaderProtocol;
    unsigned reader_tag = compat_type_tag(reader);
    unsigned protocol_tag = compat_type_tag(protocol);
    if (reader_tag != 0 && reader_tag == classes->reader_tag && protocol_tag != 0 &&
        protocol_tag == classes->protocol_tag) {
        return classes->intact;
    }
    int intact = compare_functions(classes->functions);
    if (intact >= 0) {
        classes->intact = intact;
        classes->reader_tag = compat_type_tag(reader);
        classes->protocol_tag = compat_type_tag(protocol);
    }
    return intact;
}

int
reader_is_native(ReaderCore *core)
{
    int intact = core->altered ? 0 : classes_are_intact(core->st);
    return core->altered ? 0 : intact; /* looking at the classes may run code */
}

/* ---- the state ------------------------------------------------------------------------------- */

static int
is_usable_limit(PyObject *limit)
{
    if (!PyLong_CheckExact(limit)) {
        return 0;
    }
    Py_ssize_t value = PyLong_AsSsize_t(limit);
    PyErr_Clear();
    return value > 0;
}

/* What asyncio's constructor has left in the instance dictionary. A field that is missing there, or
   is something else than it was, is left to asyncio's methods. */
static int
take_fields(ReaderCore *core, PyObject *dict)
{
#define X(name)                                                                                    \
    if (PyDict_GetItemRef(dict, core->st->str__##name, &core->name) < 0) {                         \
        return -1;                                                                                 \
    }                                                                                              \
    core->altered |= core->name == NULL;
    READER_FIELDS(X)
#undef X
    if (!core->altered) {
        core->altered = !PyByteArray_CheckExact(core->buffer) || !is_usable_limit(core->limit) ||
                        !PyBool_Check(core->eof) || !PyBool_Check(core->paused) ||
                        !PyObject_TypeCheck(core->loop, core->st->LoopType);
    }
    core->buffer_refs = 2; /* the dictionary's, and ours */
    return 0;
}

static ReaderCore *
core_new(fastaio_state *st, PyObject *dict)
{
    ReaderCore *core = (ReaderCore *)st->ReaderCoreType->tp_alloc(st->ReaderCoreType, 0);
    if (core == NULL) {
        return NULL;
    }
    core->st = st;
    if (take_fields(core, dict) < 0 ||
        PyDict_SetItem(dict, st->str__native_reader, (PyObject *)core) < 0) {
        Py_DECREF(core);
        return NULL;
    }
    Py_DECREF(core); /* the dictionary has it */
    return core;
}

ReaderCore *
reader_core(fastaio_state *st, PyObject *reader)
{
    PyObject *dict = PyObject_GenericGetDict(reader, NULL);
    if (dict == NULL) {
        return NULL;
    }
    PyObject *core = PyDict_GetItemWithError(dict, st->str__native_reader); /* borrowed */
    if (core != NULL && !Py_IS_TYPE(core, st->ReaderCoreType)) {
        PyErr_SetString(PyExc_TypeError, "the reader's state has been replaced");
        core = NULL;
    }
    else if (core == NULL && !PyErr_Occurred()) {
        core = (PyObject *)core_new(st, dict);
    }
    Py_DECREF(dict);
    return (ReaderCore *)core;
}

static int
core_traverse(PyObject *self, visitproc visit, void *arg)
{
    ReaderCore *core = (ReaderCore *)self;
    Py_VISIT(Py_TYPE(self));
#define X(name) Py_VISIT(core->name);
    READER_FIELDS(X)
#undef X
    Py_VISIT(core->reader_ref);
    return 0;
}

static int
core_clear(PyObject *self)
{
    ReaderCore *core = (ReaderCore *)self;
    core->altered = true;
    if (core->link != NULL) {
        streamreader_unlink(core->link);
    }
    Py_CLEAR(core->chunk);
#define X(name) Py_CLEAR(core->name);
    READER_FIELDS(X)
#undef X
    Py_CLEAR(core->reader_ref);
    return 0;
}

static void
core_drop(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    core_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static void
core_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    DEALLOC_BOUNDED(self, core_dealloc, core_drop);
}

/* ---- the buffer ------------------------------------------------------------------------------ */

int
reader_check(ReaderCore *core)
{
    bool whole = core->buffer != NULL && PyByteArray_CheckExact(core->buffer);
#define X(name) whole = whole && core->name != NULL;
    READER_FIELDS(X)
#undef X
    if (!whole) {
        PyErr_SetString(PyExc_RuntimeError, "the reader's state was replaced during a read");
        return -1;
    }
    return 0;
}

const char *
reader_view(ReaderCore *core, Py_ssize_t *size)
{
    if (core->chunk != NULL) {
        *size = PyBytes_GET_SIZE(core->chunk) - core->start;
        return PyBytes_AS_STRING(core->chunk) + core->start;
    }
    *size = PyByteArray_GET_SIZE(core->buffer);
    return PyByteArray_AS_STRING(core->buffer);
}

static int
append(PyObject *buffer, const char *data, Py_ssize_t size)
{
    Py_ssize_t before = PyByteArray_GET_SIZE(buffer);
    if (size > PY_SSIZE_T_MAX - before) {
        PyErr_NoMemory();
        return -1;
    }
    if (PyByteArray_Resize(buffer, before + size) < 0) {
        return -1;
    }
    memcpy(PyByteArray_AS_STRING(buffer) + before, data, (size_t)size);
    return 0;
}

int
reader_gather(ReaderCore *core)
{
    if (core->chunk == NULL || core->buffer == NULL) {
        return 0;
    }
    Py_ssize_t size;
    const char *data = reader_view(core, &size);
    if (append(core->buffer, data, size) < 0) {
        return -1;
    }
    Py_CLEAR(core->chunk);
    return 0;
}

static PyObject *
take_from_chunk(ReaderCore *core, Py_ssize_t size)
{
    Py_ssize_t available;
    const char *data = reader_view(core, &available);
    PyObject *taken;
    if (size == PyBytes_GET_SIZE(core->chunk)) {
        taken = core->chunk;
        core->chunk = NULL;
        return taken;
    }
    taken = PyBytes_FromStringAndSize(data, size);
    if (taken != NULL) {
        core->start += size;
        if (size == available) {
            Py_CLEAR(core->chunk);
        }
    }
    return taken;
}

PyObject *
reader_take(ReaderCore *core, Py_ssize_t size)
{
    if (core->chunk != NULL) {
        return take_from_chunk(core, size);
    }
    Py_ssize_t available = PyByteArray_GET_SIZE(core->buffer);
    PyObject *taken = PyBytes_FromStringAndSize(PyByteArray_AS_STRING(core->buffer), size);
    if (taken == NULL || size == 0) {
        return taken;
    }
    int rc = size == available ? PyByteArray_Resize(core->buffer, 0)
                               : PySequence_DelSlice(core->buffer, 0, size);
    if (rc < 0) {
        Py_CLEAR(taken);
    }
    return taken;
}

/* ---- flow control ---------------------------------------------------------------------------- */

Py_ssize_t
reader_limit(ReaderCore *core)
{
    Py_ssize_t limit = core->limit != NULL ? PyLong_AsSsize_t(core->limit) : -1;
    if (limit < 0) {
        PyErr_Clear();
        limit = PY_SSIZE_T_MAX;
    }
    return limit;
}

int
reader_resume(ReaderCore *core)
{
    if (core->paused == Py_False) {
        return 0;
    }
    Py_SETREF(core->paused, Py_NewRef(Py_False));
    PyObject *transport = Py_NewRef(core->transport);
    PyObject *result = PyObject_CallMethodNoArgs(transport, core->st->str_resume_reading);
    Py_DECREF(transport);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

int
reader_maybe_resume(ReaderCore *core)
{
    Py_ssize_t size;
    if (core->paused == Py_False) {
        return 0;
    }
    reader_view(core, &size);
    return size <= reader_limit(core) ? reader_resume(core) : 0;
}

/* What does not fit in twice the limit makes the transport wait. */
static int
maybe_pause(ReaderCore *core)
{
    Py_ssize_t size;
    if (reader_check(core) < 0) {
        return -1;
    }
    reader_view(core, &size);
    if (size / 2 < reader_limit(core) || size <= 2 * reader_limit(core)) {
        return 0;
    }
    if (core->paused != Py_False || core->transport == Py_None) {
        return 0;
    }
    PyObject *transport = Py_NewRef(core->transport);
    PyObject *result = PyObject_CallMethodNoArgs(transport, core->st->str_pause_reading);
    Py_DECREF(transport);
    if (result != NULL) {
        Py_DECREF(result);
        Py_XSETREF(core->paused, Py_NewRef(Py_True));
        return 0;
    }
    if (!PyErr_ExceptionMatches(PyExc_NotImplementedError)) {
        return -1;
    }
    /* It cannot: all has to be kept, and there is no use in asking again. */
    PyErr_Clear();
    Py_XSETREF(core->transport, Py_NewRef(Py_None));
    return 0;
}

/* ---- feeding --------------------------------------------------------------------------------- */

static int
wake_foreign(ReaderCore *core, PyObject *waiter)
{
    PyObject *cancelled = PyObject_CallMethodNoArgs(waiter, core->st->str_cancelled);
    int is_cancelled = cancelled != NULL ? PyObject_IsTrue(cancelled) : -1;
    Py_XDECREF(cancelled);
    if (is_cancelled != 0) {
        return is_cancelled < 0 ? -1 : 0;
    }
    PyObject *result = PyObject_CallMethodOneArg(waiter, core->st->str_set_result, Py_None);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

static int
wake(ReaderCore *core)
{
    PyObject *waiter = core->waiter;
    if (waiter == Py_None) {
        return 0;
    }
    core->waiter = Py_NewRef(Py_None);
    FutureCore *future = future_core(core->st, waiter);
    int rc;
    if (future == NULL) {
        rc = wake_foreign(core, waiter);
    }
    else {
        rc = future->state == FUTURE_CANCELLED ? 0 : future_set_result(future, Py_None);
    }
    Py_DECREF(waiter);
    return rc;
}

static int
feed(ReaderCore *core, PyObject *data)
{
    bool empty = core->chunk == NULL && PyByteArray_GET_SIZE(core->buffer) == 0;
    if (empty && Py_REFCNT(core->buffer) <= core->buffer_refs) {
        core->chunk = Py_NewRef(data);
        core->start = 0;
    }
    else if (reader_gather(core) < 0 ||
             append(core->buffer, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data)) < 0) {
        return -1;
    }
    return wake(core) < 0 ? -1 : maybe_pause(core);
}

/* Whether the protocol still is what was adopted. */
static int
protocol_is_ours(ReaderCore *core, PyObject *protocol)
{
    fastaio_state *st = core->st;
    if ((PyObject *)Py_TYPE(protocol) != st->asyncio_StreamReaderProtocol) {
        return 0;
    }
    PyObject *dict = PyObject_GenericGetDict(protocol, NULL);
    if (dict == NULL) {
        return -1;
    }
    int rc = PyDict_GetItemWithError(dict, st->str__stream_reader_wr) == core->reader_ref &&
             PyDict_GetItemWithError(dict, st->str_data_received) == NULL;
    Py_DECREF(dict);
    return PyErr_Occurred() ? -1 : rc;
}

int
streamreader_feed(ReaderCore *core, PyObject *protocol, PyObject *data)
{
    if (core->eof != Py_False || !PyBytes_CheckExact(data) || is_dying((PyObject *)core)) {
        return 0;
    }
    /* The looks may run code (a key's __eq__): the reader's own state is looked at last. */
    Py_INCREF(core);
    int native = protocol_is_ours(core, protocol);
    if (native > 0) {
        native = reader_is_native(core);
    }
    if (native > 0 && core->eof != Py_False) {
        native = 0;
    }
    if (native > 0 && feed(core, data) < 0) {
        native = -1;
    }
    Py_DECREF(core);
    return native;
}

/* ---- adoption -------------------------------------------------------------------------------- */

void
streamreader_unlink(ReaderCore **link)
{
    if (*link != NULL) {
        (*link)->link = NULL;
        *link = NULL;
    }
}

/* A method in the instance dictionary: somebody has put it there. */
static int
has_own_methods(fastaio_state *st, PyObject *dict)
{
    Py_ssize_t position = 0;
    PyObject *name, *value;
    while (PyDict_Next(dict, &position, &name, &value)) {
        if (!PyCallable_Check(value)) {
            continue;
        }
        PyObject *method;
        Py_INCREF(name);
        int found = PyObject_GetOptionalAttr(st->asyncio_StreamReader, name, &method);
        Py_DECREF(name);
        Py_XDECREF(method);
        if (found != 0) {
            return found;
        }
    }
    return 0;
}

/* 1 where `reader` is a fresh asyncio.StreamReader of this loop. */
static int
is_untouched(LoopObject *loop, PyObject *reader)
{
    PyObject *dict = PyObject_GenericGetDict(reader, NULL);
    if (dict == NULL) {
        return -1;
    }
    int rc = PyDict_GetItemWithError(dict, loop->st->str__loop) == (PyObject *)loop;
    if (rc != 0) {
        int own = has_own_methods(loop->st, dict);
        rc = own < 0 ? -1 : !own;
    }
    Py_DECREF(dict);
    return PyErr_Occurred() ? -1 : rc;
}

/* The weak reference by which an exact StreamReaderProtocol knows its reader: 1, 0: none. */
static int
find_reader(fastaio_state *st, PyObject *protocol, PyObject **ref, PyObject **reader)
{
    *ref = *reader = NULL;
    PyObject *dict = PyObject_GenericGetDict(protocol, NULL);
    int rc = dict ? PyDict_GetItemRef(dict, st->str__stream_reader_wr, ref) : -1;
    Py_XDECREF(dict);
    if (rc > 0 && PyWeakref_CheckRefExact(*ref)) {
        rc = PyWeakref_GetRef(*ref, reader);
    }
    return rc < 0 ? -1 : *reader != NULL;
}

/* The state of a reader that is ours already, or may be: borrowed; NULL: none, or an exception. */
static ReaderCore *
become_native(LoopObject *loop, PyObject *reader)
{
    fastaio_state *st = loop->st;
    if (Py_IS_TYPE(reader, st->StreamReaderType)) {
        return reader_core(st, reader);
    }
    if ((PyObject *)Py_TYPE(reader) != st->asyncio_StreamReader ||
        is_untouched(loop, reader) <= 0 || classes_are_intact(st) <= 0) {
        return NULL;
    }
    if (PyObject_SetAttr(reader, st->str___class__, (PyObject *)st->StreamReaderType) < 0) {
        if (PyErr_ExceptionMatches(PyExc_TypeError)) {
            PyErr_Clear(); /* an interpreter that does not allow it has asyncio's own readers */
        }
        return NULL;
    }
    return reader_core(st, reader);
}

int
streamreader_adopt(LoopObject *loop, PyObject *protocol, ReaderCore **link)
{
    fastaio_state *st = loop->st;
    streamreader_unlink(link);
    if ((PyObject *)Py_TYPE(protocol) != st->asyncio_StreamReaderProtocol) {
        return 0;
    }
    PyObject *ref, *reader;
    int rc = find_reader(st, protocol, &ref, &reader);
    ReaderCore *core = rc > 0 ? become_native(loop, reader) : NULL;
    if (core != NULL) {
        Py_INCREF(core);
        if (core->link != NULL) {
            streamreader_unlink(core->link);
        }
        core->link = link;
        *link = core;
        Py_XSETREF(core->reader_ref, Py_NewRef(ref));
        Py_DECREF(core);
    }
    Py_XDECREF(ref);
    Py_XDECREF(reader);
    return PyErr_Occurred() ? -1 : 0;
}

/* ---- the type of the state ------------------------------------------------------------------- */

static PyType_Slot core_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("The state of a native stream reader.")},
    {Py_tp_traverse, core_traverse},
    {Py_tp_clear, core_clear},
    {Py_tp_dealloc, core_dealloc},
    {0, NULL},
};

static PyType_Spec core_spec = {
    .name = "fastaio._fastaio.ReaderCore",
    .basicsize = sizeof(ReaderCore),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = core_slots,
};

int
streamreader_types_init(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    st->reader_classes.functions = PyList_New(0);
    if (st->reader_classes.functions == NULL ||
        note_functions(st->reader_classes.functions, st->asyncio_StreamReader, reader_functions) <
            0 ||
        note_functions(st->reader_classes.functions, st->asyncio_StreamReaderProtocol,
                       protocol_functions) < 0) {
        return -1;
    }
    st->ReaderCoreType = state_add_type(module, &core_spec, NULL);
    return st->ReaderCoreType && reader_type_init(module) == 0 ? read_op_type_init(module) : -1;
}
