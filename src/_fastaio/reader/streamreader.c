/* streamreader.c: adopts the readers of stream protocols, and feeds them. */
#include "reader/streamreader.h"

#include "reader/streamreader_core.h"
#include "task/future.h"

/* ---- feeding --------------------------------------------------------------------------------- */

/* Pause the transport if more than twice the limit is buffered. */
static int
pause_if_full(ReaderCore *core)
{
    Py_ssize_t size;
    if (reader_check(core) < 0) {
        return -1;
    }
    reader_view(core, &size);
    Py_ssize_t limit = reader_limit(core);
    if (size / 2 < limit || size <= 2 * limit) {
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
    /* The transport cannot pause: what it delivers is kept, and it is not asked again. */
    PyErr_Clear();
    Py_XSETREF(core->transport, Py_NewRef(Py_None));
    return 0;
}

/* Wake a waiter that is a future of another library. */
static int
wake_foreign(ReaderCore *core, PyObject *waiter)
{
    PyObject *cancelled = PyObject_CallMethodNoArgs(waiter, core->st->str_cancelled);
    int is_cancelled = cancelled != NULL ? PyObject_IsTrue(cancelled) : -1;
    Py_XDECREF(cancelled);
    if (is_cancelled != 0) {
        return is_cancelled < 0 ? -1 : 0;
    }
    return drop_result(PyObject_CallMethodOneArg(waiter, core->st->str_set_result, Py_None));
}

/* Wake the coroutine that waits for data or the end. */
static int
wake(ReaderCore *core)
{
    PyObject *waiter = core->waiter;
    if (waiter == Py_None) {
        return 0;
    }
    core->waiter = Py_NewRef(Py_None);
    FutureCore *future = future_core(core->st, waiter);
    int rc = future == NULL ? wake_foreign(core, waiter)
                            : future_set_result_unless_cancelled(future, Py_None);
    Py_DECREF(waiter);
    return rc;
}

/* Do what reader.feed_data(data) does. */
static int
feed(ReaderCore *core, PyObject *data)
{
    bool empty = core->chunk == NULL && PyByteArray_GET_SIZE(core->buffer) == 0;
    if (empty && Py_REFCNT(core->buffer) <= core->buffer_refs) {
        reader_set_chunk(core, Py_NewRef(data));
        core->start = 0;
    }
    else if (reader_append(core, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data)) < 0) {
        return -1;
    }
    return wake(core) < 0 ? -1 : pause_if_full(core);
}

/* Return whether the protocol still has this reader, and its own data_received(): 1, 0, or -1 with
   an exception. */
static int
has_reader(ReaderCore *core, PyObject *protocol)
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
    if (core->eof != Py_False || !PyBytes_CheckExact(data) || try_ref((PyObject *)core) == NULL) {
        return 0;
    }
    /* These two may run code (a key's __eq__), so `eof` is looked at again after them. */
    int native = has_reader(core, protocol);
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
        reader_unlink(*link);
    }
}

/* Return whether the instance dictionary hides a method of the class: 1, 0, or -1 with an
   exception. */
static int
has_own_methods(fastaio_state *st, PyObject *dict)
{
    Py_ssize_t position = 0;
    PyObject *name, *value;
    int found = 0;
    Section section;
    section_begin(&section, dict); /* another thread may set an attribute */
    while (found == 0 && PyDict_Next(dict, &position, &name, &value)) {
        if (!PyCallable_Check(value)) {
            continue;
        }
        PyObject *method;
        Py_INCREF(name);
        found = PyObject_GetOptionalAttr(st->asyncio_StreamReader, name, &method);
        Py_DECREF(name);
        Py_XDECREF(method);
    }
    section_end(&section);
    return found;
}

/* Return whether the reader is one of this loop, with the methods of its class: 1, 0, or -1 with an
   exception. */
static int
may_adopt(LoopObject *loop, PyObject *reader)
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

/* Store the weak reference by which a StreamReaderProtocol knows its reader, and the reader: new
   references, or NULL. Return 1, 0 if there is no reader, or -1 with an exception. */
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

/* Make a reader native if it may be and is not yet. Return its state, borrowed; NULL with an
   exception, or without one if it stays asyncio's. */
static ReaderCore *
become_native(LoopObject *loop, PyObject *reader)
{
    fastaio_state *st = loop->st;
    if (Py_IS_TYPE(reader, st->StreamReaderType)) {
        return reader_core(st, reader);
    }
    if ((PyObject *)Py_TYPE(reader) != st->asyncio_StreamReader || may_adopt(loop, reader) <= 0 ||
        reader_classes_are_intact(st) <= 0) {
        return NULL;
    }
    if (PyObject_SetAttr(reader, st->str___class__, (PyObject *)st->StreamReaderType) < 0) {
        if (PyErr_ExceptionMatches(PyExc_TypeError)) {
            PyErr_Clear(); /* this interpreter does not let the class be changed */
        }
        return NULL;
    }
    return reader_core(st, reader);
}

/* Return true if the claim of the loop guards the reader. */
static bool
core_is_of(ReaderCore *core, LoopObject *loop)
{
    PyObject *home = home_loop(&core->home);
    return home == NULL || home == (PyObject *)loop;
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
        home_set(&core->home, (PyObject *)loop);
    }
    if (core != NULL && core_is_of(core, loop)) {
        Py_INCREF(core);
        reader_unlink(core);
        core->link = link;
        *link = core;
        Py_XSETREF(core->reader_ref, Py_NewRef(ref));
        Py_DECREF(core);
    }
    Py_XDECREF(ref);
    Py_XDECREF(reader);
    return PyErr_Occurred() ? -1 : 0;
}
