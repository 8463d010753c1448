/* streamreader_type.c: the class of adopted readers: asyncio.StreamReader with C methods.
 *
 * The class adds no fields, so that it can become the class of an object that exists. Unusual
 * arguments, and readers that were altered, go to asyncio's own method of the same name.
 */
#include "reader/streamreader_type.h"

#include "base/args.h"
#include "reader/streamreader_core.h"
#include "reader/streamreader_op.h"

/* Return the loop whose claim guards the reader, borrowed; NULL without one. */
static PyObject *
loop_of(PyObject *reader)
{
    fastaio_state *st = state_of_type(Py_TYPE(reader));
    ReaderCore *core = st != NULL ? reader_core(st, reader) : NULL;
    if (core == NULL) {
        PyErr_Clear(); /* the method raises it */
        return NULL;
    }
    return home_loop(&core->home);
}

/* ---- attributes ------------------------------------------------------------------------------ */

/* Return the address of the field at an offset of the reader's state, which is stored in *core;
   NULL with an exception. */
static PyObject **
field_of(PyObject *reader, void *offset, ReaderCore **core)
{
    fastaio_state *st = state_of_type(Py_TYPE(reader));
    *core = st != NULL ? reader_core(st, reader) : NULL;
    return *core != NULL ? (PyObject **)((char *)*core + (uintptr_t)offset) : NULL;
}

static PyObject *
get_field(PyObject *reader, void *offset)
{
    ReaderCore *core;
    PyObject **field = field_of(reader, offset, &core);
    if (field == NULL) {
        return NULL;
    }
    if (*field == NULL) {
        PyErr_SetString(PyExc_AttributeError, "the attribute was deleted or never set");
        return NULL;
    }
    return Py_NewRef(*field);
}

/* Python code finds all data in the buffer. */
static PyObject *
get_buffer(PyObject *reader, void *offset)
{
    ReaderCore *core;
    if (field_of(reader, offset, &core) == NULL || reader_fill_buffer(core) < 0) {
        return NULL;
    }
    return get_field(reader, offset);
}

static int
set_field(PyObject *reader, PyObject *value, void *offset)
{
    ReaderCore *core;
    PyObject **field = field_of(reader, offset, &core);
    if (field == NULL) {
        return -1;
    }
    if (value == NULL && *field == NULL) {
        PyErr_SetString(PyExc_AttributeError, "the attribute was deleted or never set");
        return -1;
    }
    core->altered |= value == NULL;
    section_set((PyObject *)core, field, Py_XNewRef(value)); /* other threads may look at it */
    return 0;
}

static int
set_flag(PyObject *reader, PyObject *value, void *offset)
{
    int flag = value != NULL ? PyObject_IsTrue(value) : 0;
    if (flag < 0) {
        return -1;
    }
    return set_field(reader, value == NULL ? NULL : flag ? Py_True : Py_False, offset);
}

static int
set_limit(PyObject *reader, PyObject *value, void *offset)
{
    ReaderCore *core;
    if (field_of(reader, offset, &core) == NULL) {
        return -1;
    }
    core->altered |= value == NULL || !reader_is_usable_limit(value);
    return set_field(reader, value, offset);
}

static int
set_loop(PyObject *reader, PyObject *value, void *offset)
{
    ReaderCore *core;
    if (field_of(reader, offset, &core) == NULL) {
        return -1;
    }
    core->altered |= value == NULL || !PyObject_TypeCheck(value, core->st->LoopType);
    return set_field(reader, value, offset);
}

static int
set_buffer(PyObject *reader, PyObject *value, void *offset)
{
    ReaderCore *core;
    if (field_of(reader, offset, &core) == NULL) {
        return -1;
    }
    core->altered |= value == NULL || !PyByteArray_CheckExact(value);
    reader_set_chunk(core, NULL);
    core->buffer_refs = 1;
    return set_field(reader, value, offset);
}

#define FIELD(name, get, set) {"_" #name, get, set, NULL, (void *)offsetof(ReaderCore, name)}
static PyGetSetDef reader_getset[] = {
    FIELD(limit, get_field, set_limit),
    FIELD(loop, get_field, set_loop),
    FIELD(buffer, get_buffer, set_buffer),
    FIELD(eof, get_field, set_flag),
    FIELD(waiter, get_field, set_field),
    FIELD(exception, get_field, set_field),
    FIELD(transport, get_field, set_field),
    FIELD(paused, get_field, set_flag),
    {NULL, NULL, NULL, NULL, NULL},
};

/* A method that is set on the instance counts for asyncio's methods, which call each other: they do
   the work from then on. */
GUARD_SETATTRO(reader_setattro, loop_of)

static int
reader_setattro(PyObject *reader, PyObject *name, PyObject *value)
{
    fastaio_state *st = state_of_type(Py_TYPE(reader));
    if (st == NULL) {
        return -1;
    }
    PyObject *method;
    int found = PyUnicode_Check(name)
                    ? PyObject_GetOptionalAttr(st->asyncio_StreamReader, name, &method)
                    : 0;
    if (found < 0) {
        return -1;
    }
    if (found) {
        bool is_method = PyCallable_Check(method);
        Py_DECREF(method);
        ReaderCore *core = is_method ? reader_core(st, reader) : NULL;
        if (is_method && core == NULL) {
            return -1;
        }
        if (core != NULL) {
            core->altered = true;
        }
    }
    return PyObject_GenericSetAttr(reader, name, value);
}

/* ---- methods --------------------------------------------------------------------------------- */

/* Call asyncio's own method with the same arguments. */
static PyObject *
call_original(fastaio_state *st, PyObject *reader, const char *name, PyObject *const *args,
              Py_ssize_t count, PyObject *keywords)
{
    PyObject *function = PyObject_GetAttrString(st->asyncio_StreamReader, name);
    PyObject *method = function ? PyMethod_New(function, reader) : NULL;
    PyObject *result = method ? PyObject_Vectorcall(method, args, (size_t)count, keywords) : NULL;
    Py_XDECREF(function);
    Py_XDECREF(method);
    return result;
}

/* Return the reader's state, borrowed, if the native methods may do the work; NULL with an
   exception, or without one if they may not. */
static ReaderCore *
native_core(fastaio_state *st, PyObject *reader)
{
    ReaderCore *core = reader_core(st, reader);
    return core != NULL && reader_is_native(core) > 0 ? core : NULL;
}

/* Store the only argument, given by position or as `name`. Return 1, 0 if there is none, or -1,
   without an exception, for other arguments. */
static int
parse_one(PyObject *const *args, Py_ssize_t count, PyObject *keywords, PyObject *name,
          PyObject **value)
{
    Py_ssize_t named = keywords != NULL ? PyTuple_GET_SIZE(keywords) : 0;
    if (count + named > 1 || (named == 1 && PyTuple_GET_ITEM(keywords, 0) != name)) {
        return -1;
    }
    *value = count + named ? args[0] : NULL;
    return *value != NULL;
}

static PyObject *
read_sized(PyObject *reader, PyObject *const *args, Py_ssize_t count, PyObject *keywords,
           ReadKind kind, const char *method)
{
    fastaio_state *st = state_of_type(Py_TYPE(reader));
    if (st == NULL) {
        return NULL;
    }
    PyObject *number;
    if (parse_one(args, count, keywords, st->str_n, &number) > 0 && PyLong_CheckExact(number)) {
        Py_ssize_t size = PyLong_AsSsize_t(number);
        PyErr_Clear(); /* too large a number becomes -1, and goes to asyncio's method as well */
        ReaderCore *core = size >= 0 ? native_core(st, reader) : NULL;
        if (core != NULL) {
            return read_op_new(core, reader, kind, size, NULL);
        }
        if (PyErr_Occurred()) {
            return NULL;
        }
    }
    return call_original(st, reader, method, args, count, keywords);
}

static PyObject *
reader_read(PyObject *reader, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    return read_sized(reader, args, count, keywords, READ_SOME, "read");
}

static PyObject *
reader_readexactly(PyObject *reader, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    return read_sized(reader, args, count, keywords, READ_EXACTLY, "readexactly");
}

static PyObject *
reader_readuntil(PyObject *reader, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    fastaio_state *st = state_of_type(Py_TYPE(reader));
    if (st == NULL) {
        return NULL;
    }
    PyObject *separator;
    int given = parse_one(args, count, keywords, st->str_separator, &separator);
    if (given == 0 ||
        (given > 0 && PyBytes_CheckExact(separator) && PyBytes_GET_SIZE(separator) > 0)) {
        ReaderCore *core = native_core(st, reader);
        if (core != NULL) {
            return read_op_new(core, reader, READ_UNTIL, 0, separator);
        }
        if (PyErr_Occurred()) {
            return NULL;
        }
    }
    return call_original(st, reader, "readuntil", args, count, keywords);
}

/* Read a line, for a method without arguments. */
static PyObject *
read_line(PyObject *reader, ReadKind kind, const char *method)
{
    fastaio_state *st = state_of_type(Py_TYPE(reader));
    if (st == NULL) {
        return NULL;
    }
    ReaderCore *core = native_core(st, reader);
    if (core != NULL) {
        return read_op_new(core, reader, kind, 0, NULL);
    }
    return PyErr_Occurred() ? NULL : call_original(st, reader, method, NULL, 0, NULL);
}

static PyObject *
reader_readline(PyObject *reader, PyObject *Py_UNUSED(ignored))
{
    return read_line(reader, READ_LINE, "readline");
}

GUARD_UNARY(reader_anext, loop_of)

static PyObject *
reader_anext(PyObject *reader)
{
    return read_line(reader, READ_NEXT, "__anext__");
}

static PyObject *
reader_exception(PyObject *reader, PyObject *Py_UNUSED(ignored))
{
    fastaio_state *st = state_of_type(Py_TYPE(reader));
    ReaderCore *core = st != NULL ? native_core(st, reader) : NULL;
    if (core != NULL) {
        return Py_NewRef(core->exception);
    }
    return PyErr_Occurred() ? NULL : call_original(st, reader, "exception", NULL, 0, NULL);
}

static PyObject *
reader_at_eof(PyObject *reader, PyObject *Py_UNUSED(ignored))
{
    fastaio_state *st = state_of_type(Py_TYPE(reader));
    ReaderCore *core = st != NULL ? native_core(st, reader) : NULL;
    if (core == NULL) {
        return PyErr_Occurred() ? NULL : call_original(st, reader, "at_eof", NULL, 0, NULL);
    }
    Py_ssize_t size;
    reader_view(core, &size);
    return PyBool_FromLong(core->eof == Py_True && size == 0);
}

#ifdef Py_GIL_DISABLED

/* What a thread sees that does not get the loop's claim. */

/* Return the reader's state as a new reference, for methods that asyncio's class still has; NULL with an exception,
   or without one. */
static ReaderCore *
look_core(PyObject *reader)
{
    fastaio_state *st = state_of_type(Py_TYPE(reader));
    PyObject *dict = st != NULL ? PyObject_GenericGetDict(reader, NULL) : NULL;
    PyObject *core;
    if (dict == NULL) {
        return NULL;
    }
    int found = PyDict_GetItemRef(dict, st->str__native_reader, &core);
    Py_DECREF(dict);
    int intact = found > 0 && Py_IS_TYPE(core, st->ReaderCoreType) ? reader_classes_are_intact(st) : 0;
    if (intact <= 0) {
        Py_CLEAR(core);
    }
    return (ReaderCore *)core;
}

static PyObject *
look_exception(PyObject *reader, PyObject *Py_UNUSED(ignored))
{
    ReaderCore *core = look_core(reader);
    if (core == NULL) {
        fastaio_state *st = state_of_type(Py_TYPE(reader));
        return PyErr_Occurred() || st == NULL ? NULL
                                              : call_original(st, reader, "exception", NULL, 0, NULL);
    }
    PyObject *exception = section_get((PyObject *)core, &core->exception);
    Py_DECREF(core);
    return exception != NULL ? exception : Py_NewRef(Py_None);
}

/* At the end of a stream nothing is received any more, and the buffer only shrinks. */
static PyObject *
look_at_eof(PyObject *reader, PyObject *Py_UNUSED(ignored))
{
    ReaderCore *core = look_core(reader);
    if (core == NULL) {
        fastaio_state *st = state_of_type(Py_TYPE(reader));
        return PyErr_Occurred() || st == NULL ? NULL
                                              : call_original(st, reader, "at_eof", NULL, 0, NULL);
    }
    PyObject *eof = section_get((PyObject *)core, &core->eof);
    PyObject *buffer = section_get((PyObject *)core, &core->buffer);
    bool empty = shared_load(&core->chunk) == NULL
                 && (buffer == NULL || !PyByteArray_Check(buffer) || PyByteArray_GET_SIZE(buffer) == 0);
    bool ended = eof == Py_True && empty;
    Py_XDECREF(eof);
    Py_XDECREF(buffer);
    Py_DECREF(core);
    return PyBool_FromLong(ended);
}

static PyMethodDef reader_looks[] = {
    {"exception", look_exception, METH_NOARGS, NULL},
    {"at_eof", look_at_eof, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

/* asyncio's repr() looks at the buffer, which has all data only after a copy. */
GUARD_REPR(reader_repr, loop_of)

static PyObject *
reader_repr(PyObject *reader)
{
    fastaio_state *st = state_of_type(Py_TYPE(reader));
    return st != NULL ? call_original(st, reader, "__repr__", NULL, 0, NULL) : NULL;
}

#endif

static PyMethodDef reader_methods[] = {
    {"read", KEYWORDS(reader_read), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("read($self, /, n=-1)\n--\n\nReturn up to n bytes as soon as there are any; without "
               "n all bytes until the end.")},
    {"readexactly", KEYWORDS(reader_readexactly), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR(
         "readexactly($self, /, n)\n--\n\nReturn exactly n bytes, or raise IncompleteReadError.")},
    {"readuntil", KEYWORDS(reader_readuntil), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR(
         "readuntil($self, /, separator=b'\\n')\n--\n\nReturn all bytes up to the separator and "
         "the separator, or raise IncompleteReadError.")},
    {"readline", reader_readline, METH_NOARGS,
     PyDoc_STR(
         "readline($self, /)\n--\n\nReturn a line with its end, or the rest at the end of the "
         "stream.")},
    {"exception", reader_exception, METH_NOARGS,
     PyDoc_STR(
         "exception($self, /)\n--\n\nReturn the exception that ended the connection, or None.")},
    {"at_eof", reader_at_eof, METH_NOARGS,
     PyDoc_STR("at_eof($self, /)\n--\n\nReturn whether the stream has ended and all was read.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot reader_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("asyncio.StreamReader, fed by a native transport.")},
    {Py_tp_setattro, GUARDED(reader_setattro)},
#ifdef Py_GIL_DISABLED
    {Py_tp_repr, GUARDED(reader_repr)},
#endif
    {Py_am_anext, GUARDED(reader_anext)},
    {Py_tp_methods, reader_methods},
    {Py_tp_getset, reader_getset},
    {0, NULL},
};

static PyType_Spec reader_spec = {
    .name = "fastaio._fastaio.StreamReader",
    .basicsize = 0, /* the base's */
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = reader_slots,
};

static const GuardRules reader_rules = {loop_of, .looks = GUARD_LOOKS(reader_looks)};

int
streamreader_types_init(PyObject *module)
{
    if (reader_core_type_init(module) < 0 || read_op_type_init(module) < 0) {
        return -1;
    }
    fastaio_state *st = state_of_module(module);
    st->StreamReaderType = state_add_type(module, &reader_spec, st->asyncio_StreamReader);
    return st->StreamReaderType == NULL ? -1
                                        : guard_type(st, st->StreamReaderType, &reader_rules);
}
