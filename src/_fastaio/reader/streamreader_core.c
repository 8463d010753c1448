/* streamreader_core.c: a native stream reader's fields, its buffer and its transport. */
#include "reader/streamreader_core.h"

#include "loop/ending.h"

/* ---- asyncio's classes ----------------------------------------------------------------------- */

static const char *const reader_functions[] = {
    "feed_data", "_wakeup_waiter", "_wait_for_data", "_maybe_resume_transport",
    "read",      "readline",       "readexactly",    "readuntil",
    "__anext__", "exception",      "at_eof",         NULL,
};
static const char *const protocol_functions[] = {"data_received", "_stream_reader", NULL};

/* Append (class, name, the class's attribute of that name) to `notes`, for each name. */
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

int
reader_compare_classes(fastaio_state *st)
{
    ReaderClasses *classes = &st->reader_classes;
    int intact = compare_functions(classes->functions);
    if (intact >= 0) {
        bool known = compat_type_tag((PyTypeObject *)st->asyncio_StreamReader) != 0
                     && compat_type_tag((PyTypeObject *)st->asyncio_StreamReaderProtocol) != 0;
        atomic_store_explicit(&classes->look, known ? reader_class_tags(st) | (uint64_t)intact : 0,
                              memory_order_relaxed);
    }
    return intact;
}

/* ---- making and freeing ---------------------------------------------------------------------- */

bool
reader_is_usable_limit(PyObject *limit)
{
    if (!PyLong_CheckExact(limit)) {
        return false;
    }
    Py_ssize_t value = PyLong_AsSsize_t(limit);
    PyErr_Clear();
    return value > 0;
}

/* Copy what asyncio's constructor has set from the instance dictionary. A field that is missing or
   of an unexpected type leaves the reader to asyncio's methods. */
static int
take_fields(ReaderCore *core, PyObject *dict)
{
#define X(name)                                                            \
    if (PyDict_GetItemRef(dict, core->st->str__##name, &core->name) < 0) { \
        return -1;                                                         \
    }                                                                      \
    core->altered |= core->name == NULL;
    READER_FIELDS(X)
#undef X
    if (!core->altered) {
        core->altered = !PyByteArray_CheckExact(core->buffer) ||
                        !reader_is_usable_limit(core->limit) || !PyBool_Check(core->eof) ||
                        !PyBool_Check(core->paused) ||
                        !PyObject_TypeCheck(core->loop, core->st->LoopType);
    }
    core->buffer_refs = 2; /* the dictionary's and the core's */
    return 0;
}

/* Return a new state, borrowed: the dictionary owns it. */
static ReaderCore *
core_new(fastaio_state *st, PyObject *dict)
{
    ReaderCore *core = (ReaderCore *)st->ReaderCoreType->tp_alloc(st->ReaderCoreType, 0);
    if (core == NULL) {
        return NULL;
    }
    core->st = st;
    try_ref_enable((PyObject *)core);
    if (take_fields(core, dict) < 0 ||
        PyDict_SetItem(dict, st->str__native_reader, (PyObject *)core) < 0) {
        Py_DECREF(core);
        return NULL;
    }
    if (!core->altered) {
        home_set(&core->home, core->loop);
    }
    Py_DECREF(core);
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
    HOME_VISIT(&core->home);
    return 0;
}

static int
core_clear(PyObject *self)
{
    ReaderCore *core = (ReaderCore *)self;
    core->altered = true;
    reader_unlink(core);
    reader_set_chunk(core, NULL);
#define X(name) section_set(self, &core->name, NULL);
    READER_FIELDS(X)
#undef X
    Py_CLEAR(core->reader_ref);
    return 0;
}

/* Return the loop whose claim guards the state, borrowed; NULL: none. */
static PyObject *
loop_of(PyObject *self)
{
    return home_loop(&((ReaderCore *)self)->home);
}

GUARD_CLEAR(core_clear, loop_of)
GUARD_DEALLOC(core_dealloc, loop_of)

static void
core_drop(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    core_clear(self);
    home_drop(&((ReaderCore *)self)->home);
    type->tp_free(self);
    Py_DECREF(type);
}

static void
core_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    DEALLOC_BOUNDED(self, GUARDED(core_dealloc), core_drop);
}

/* ---- the buffer ------------------------------------------------------------------------------ */

int
reader_raise_replaced(void)
{
    PyErr_SetString(PyExc_RuntimeError, "the reader's state was replaced during a read");
    return -1;
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
reader_fill_buffer(ReaderCore *core)
{
    if (core->chunk == NULL || core->buffer == NULL) {
        return 0;
    }
    Py_ssize_t size;
    const char *data = reader_view(core, &size);
    if (append(core->buffer, data, size) < 0) {
        return -1;
    }
    reader_set_chunk(core, NULL);
    return 0;
}

int
reader_append(ReaderCore *core, const char *data, Py_ssize_t size)
{
    return reader_fill_buffer(core) < 0 ? -1 : append(core->buffer, data, size);
}

/* A chunk that is taken whole is handed on without a copy. */
static PyObject *
take_from_chunk(ReaderCore *core, Py_ssize_t size)
{
    Py_ssize_t available;
    const char *data = reader_view(core, &available);
    PyObject *taken;
    if (size == PyBytes_GET_SIZE(core->chunk)) {
        taken = core->chunk;
        relaxed_store(&core->chunk, NULL);
        return taken;
    }
    taken = PyBytes_FromStringAndSize(data, size);
    if (taken != NULL) {
        core->start += size;
        if (size == available) {
            reader_set_chunk(core, NULL);
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

/* ---- the transport --------------------------------------------------------------------------- */

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
    int rc = drop_result(PyObject_CallMethodNoArgs(transport, core->st->str_resume_reading));
    Py_DECREF(transport);
    return rc;
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

/* ---- the type -------------------------------------------------------------------------------- */

static PyType_Slot core_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("The state of a native stream reader.")},
    {Py_tp_traverse, core_traverse},
    {Py_tp_clear, GUARDED(core_clear)},
    {Py_tp_dealloc, GUARDED(core_dealloc)},
    {0, NULL},
};

static PyType_Spec core_spec = {
    .name = "fastaio._fastaio.ReaderCore",
    .basicsize = sizeof(ReaderCore),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = core_slots,
};

static const GuardRules core_rules = {loop_of, NULL};

int
reader_core_type_init(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    PyObject *notes = st->reader_classes.functions = PyList_New(0);
    if (notes == NULL || note_functions(notes, st->asyncio_StreamReader, reader_functions) < 0 ||
        note_functions(notes, st->asyncio_StreamReaderProtocol, protocol_functions) < 0) {
        return -1;
    }
    st->ReaderCoreType = state_add_type(module, &core_spec, NULL);
    return st->ReaderCoreType == NULL ? -1 : guard_type(st, st->ReaderCoreType, &core_rules);
}
