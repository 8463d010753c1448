/* readers.c: add_reader(), add_writer() and their removal. */
#include "loop/readers.h"

#include "loop/handle.h"
#include "loop/loop.h"
#include "loop/watch.h"

/* Return the number itself, or the result of the object's fileno(). As in the selectors module, either may be
   negative. On error set *failed and return -1 with an exception. */
static int
fileno_of(PyObject *fileobj, bool *failed)
{
    *failed = false;
    PyObject *number = NULL;
    if (PyLong_Check(fileobj)) {
        number = Py_NewRef(fileobj);
    }
    else {
        PyObject *fileno = PyObject_CallMethod(fileobj, "fileno", NULL);
        number = fileno ? PyNumber_Long(fileno) : NULL;
        Py_XDECREF(fileno);
        if (number == NULL) {
            if (PyErr_ExceptionMatches(PyExc_AttributeError) ||
                PyErr_ExceptionMatches(PyExc_TypeError) ||
                PyErr_ExceptionMatches(PyExc_ValueError)) {
                PyErr_Clear();
                PyErr_Format(PyExc_ValueError, "Invalid file object: %R", fileobj);
            }
            *failed = true;
            return -1;
        }
    }
    long fd = PyLong_AsLong(number);
    Py_DECREF(number);
    if (fd == -1 && PyErr_Occurred()) {
        *failed = true;
        return -1;
    }
    if (fd > INT_MAX || fd < INT_MIN) {
        PyErr_SetString(PyExc_OverflowError, "file descriptor is out of range");
        *failed = true;
        return -1;
    }
    return (int)fd;
}

/* Return the descriptor of a number or file object. A file object that has been closed has the number under
   which it is watched. Return -1 with an exception. */
static int
number_of(LoopObject *loop, PyObject *fileobj)
{
    bool failed;
    int fd = fileno_of(fileobj, &failed);
    if (!failed && fd >= 0) {
        return fd;
    }
    if (failed && !PyErr_ExceptionMatches(PyExc_ValueError)) {
        return -1;
    }
    int number = watch_number(loop, fileobj);
    if (number >= 0) {
        PyErr_Clear();
        return number;
    }
    if (!failed) {
        PyErr_Format(PyExc_ValueError, "Invalid file descriptor: %d", fd);
    }
    return -1;
}

/* Look for a transport of asyncio's own that uses fd. Return 1 with a new reference, 0 if there is none, or
   -1 with an exception. */
static int
foreign_transport(LoopObject *loop, int fd, PyObject **transport)
{
    fastaio_state *st = loop->st;
    PyObject *transports, *refs = NULL;
    *transport = NULL;
    int rc = PyObject_GetOptionalAttr((PyObject *)loop, st->str__transports, &transports);
    if (rc <= 0) {
        return rc;
    }
    /* `transports` is a WeakValueDictionary, whose methods are slow, and nearly always empty. */
    rc = PyObject_GetOptionalAttr(transports, st->str_data, &refs);
    if (rc > 0 && !(PyDict_Check(refs) && PyDict_Size(refs) == 0)) {
        *transport = PyObject_CallMethod(transports, "get", "i", fd);
        rc = *transport == NULL ? -1 : 0;
    }
    Py_XDECREF(refs);
    Py_DECREF(transports);
    if (*transport == NULL || *transport == Py_None) {
        Py_CLEAR(*transport);
        return rc < 0 ? -1 : 0;
    }
    PyObject *closing = PyObject_CallMethod(*transport, "is_closing", NULL);
    int is_closing = closing ? PyObject_IsTrue(closing) : -1;
    Py_XDECREF(closing);
    if (is_closing != 0) {
        Py_CLEAR(*transport);
    }
    return is_closing < 0 ? -1 : !is_closing;
}

/* Raise RuntimeError for a descriptor that a transport uses. Return -1. */
static int
raise_taken(int fd, PyObject *fileobj, PyObject *owner)
{
    PyObject *shown = fileobj != NULL ? Py_NewRef(fileobj) : PyLong_FromLong(fd);
    if (shown != NULL) {
        watch_raise_taken(shown, owner);
        Py_DECREF(shown);
    }
    return -1;
}

/* Return 0; or -1 with RuntimeError if a transport uses fd. `fileobj`: shown in the message, or NULL. */
static int
ensure_free(LoopObject *loop, int fd, PyObject *fileobj)
{
    PyObject *owner = watch_find_owner(loop, fd);
    int found = owner != NULL ? 1 : foreign_transport(loop, fd, &owner);
    if (found > 0) {
        found = raise_taken(fd, fileobj, owner);
        Py_DECREF(owner);
    }
    return found;
}

int
readers_ensure_free(LoopObject *loop, int fd)
{
    return ensure_free(loop, fd, NULL);
}

static int
ensure_no_transport(LoopObject *loop, PyObject *fileobj)
{
    bool failed;
    int fd = fileno_of(fileobj, &failed);
    return failed ? -1 : ensure_free(loop, fd, fileobj);
}

static PyObject *
ensure_fd_no_transport(PyObject *self, PyObject *fileobj)
{
    return ensure_no_transport((LoopObject *)self, fileobj) < 0 ? NULL : Py_NewRef(Py_None);
}

/* The arguments of add_reader() or add_writer(), borrowed: (fd, callback, *args, context=None). */
typedef struct {
    PyObject *fd;
    PyObject *callback;
    PyObject *const *args;
    Py_ssize_t arg_count;
    PyObject *context;
} AddCall;

/* Parse the arguments, of which fd and callback may be keywords. Return 0, or -1 with TypeError. */
static int
parse_add(const char *method, AddCall *call, PyObject *const *args, Py_ssize_t count,
          PyObject *keywords)
{
    *call = (AddCall){
        .fd = count > 0 ? args[0] : NULL,
        .callback = count > 1 ? args[1] : NULL,
        .args = args + 2,
        .arg_count = count > 2 ? count - 2 : 0,
    };
    const NamedArgument known[] = {
        {"fd", &call->fd}, {"callback", &call->callback}, {"context", &call->context}, {NULL, NULL}};
    if (parse_keywords(method, known, keywords, args + count) < 0) {
        return -1;
    }
    if (call->context == Py_None) {
        call->context = NULL;
    }
    if (call->fd == NULL || call->callback == NULL) {
        PyErr_Format(PyExc_TypeError, "%s() takes at least 2 arguments (%zd given)", method,
                     count);
        return -1;
    }
    return 0;
}

/* Watch a side of call->fd for a new Handle. Return the Handle, or NULL with an exception. */
static PyObject *
add_handle(LoopObject *loop, const AddCall *call, WatchSide side)
{
    if (loop_check_closed(loop) < 0) {
        return NULL;
    }
    HandleObject *handle = handle_new(loop->st, (PyObject *)loop, call->callback, call->args,
                                      call->arg_count, call->context, false);
    if (handle == NULL) {
        return NULL;
    }
    handle_track((PyObject *)handle); /* it is in no queue */
    if (relaxed_load(&loop->watchdog.debug) && handle_keep_source(loop->st, handle) < 0) {
        Py_DECREF(handle);
        return NULL;
    }
    int fd = number_of(loop, call->fd);
    PyObject *fileobj = PyLong_Check(call->fd) ? NULL : call->fd;
    if (fd < 0 || watch_set_handle(loop, fd, side, (PyObject *)handle, fileobj) < 0) {
        Py_DECREF(handle);
        return NULL;
    }
    return (PyObject *)handle;
}

/* Do add_reader() or add_writer() in a thread that has claimed the loop. Return 0, or -1 with an exception. */
static int
add_claimed(LoopObject *loop, const AddCall *call, WatchSide side)
{
    PyObject *handle =
        ensure_no_transport(loop, call->fd) < 0 ? NULL : add_handle(loop, call, side);
    Py_XDECREF(handle);
    return handle ? 0 : -1;
}

#ifdef Py_GIL_DISABLED

/* Have the loop call its own add_reader() or add_writer(). Return 0, or -1 with an exception. */
static int
add_in_loop(LoopObject *loop, const char *method, const AddCall *call)
{
    fastaio_state *st = loop->st;
    PyObject *bound = NULL, **stack = NULL, *handle = NULL;
    size_t count = (size_t)call->arg_count + 4;
    bool failed;
    fileno_of(call->fd, &failed); /* what is no descriptor at all is refused here */
    if (failed || (bound = PyObject_GetAttrString((PyObject *)loop, method)) == NULL) {
        goto done;
    }
    stack = PyMem_New(PyObject *, count + 1);
    if (stack == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    stack[0] = (PyObject *)loop;
    stack[1] = bound;
    stack[2] = call->fd;
    stack[3] = call->callback;
    for (Py_ssize_t i = 0; i < call->arg_count; i++) {
        stack[4 + i] = call->args[i];
    }
    stack[count] = call->context;
    handle = PyObject_VectorcallMethod(st->str_call_soon_threadsafe, stack, count,
                                       call->context ? st->context_kwname : NULL);
done:
    PyMem_Free(stack);
    Py_XDECREF(bound);
    Py_XDECREF(handle);
    return handle ? 0 : -1;
}

/* Do add_reader() or add_writer() in any thread: programs made for asyncio call them beside the loop's thread,
   where it goes well. Return 0, or -1 with an exception. */
static int
add_anywhere(LoopObject *loop, const char *method, const AddCall *call, WatchSide side)
{
    if (claim_is_mine(&loop->claim)) {
        return add_claimed(loop, call, side);
    }
    if (!claim_as_guest(&loop->claim)) {
        return add_in_loop(loop, method, call);
    }
    int result = add_claimed(loop, call, side);
    claim_end_as_guest(&loop->claim);
    return result;
}

#else
#define add_anywhere(loop, method, call, side) add_claimed(loop, call, side)
#endif

/* The public methods refuse descriptors of transports and return None. The underscored ones return the
   Handle. */
#define ADD_METHODS(name, side)                                                                   \
    static PyObject *_##name(PyObject *self, PyObject *const *args, Py_ssize_t count,              \
                             PyObject *keywords)                                                   \
    {                                                                                              \
        AddCall call;                                                                              \
        return parse_add("_" #name, &call, args, count, keywords) < 0                              \
                   ? NULL                                                                          \
                   : add_handle((LoopObject *)self, &call, side);                                  \
    }                                                                                              \
    static PyObject *name(PyObject *self, PyObject *const *args, Py_ssize_t count,                 \
                          PyObject *keywords)                                                      \
    {                                                                                              \
        AddCall call;                                                                              \
        return parse_add(#name, &call, args, count, keywords) < 0                                  \
                       || add_anywhere((LoopObject *)self, #name, &call, side) < 0                 \
                   ? NULL                                                                          \
                   : Py_NewRef(Py_None);                                                           \
    }

ADD_METHODS(add_reader, SIDE_READ)
ADD_METHODS(add_writer, SIDE_WRITE)

static PyObject *
remove_side(LoopObject *loop, PyObject *fileobj, WatchSide side)
{
    if (relaxed_load(&loop->closed) || loop->poller == NULL) {
        Py_RETURN_FALSE;
    }
    int fd = number_of(loop, fileobj);
    int removed = fd < 0 ? -1 : watch_remove(loop, fd, side);
    return removed < 0 ? NULL : PyBool_FromLong(removed);
}

static PyObject *
_remove_reader(PyObject *self, PyObject *fileobj)
{
    return remove_side((LoopObject *)self, fileobj, SIDE_READ);
}

static PyObject *
_remove_writer(PyObject *self, PyObject *fileobj)
{
    return remove_side((LoopObject *)self, fileobj, SIDE_WRITE);
}

static PyObject *
remove_reader(PyObject *self, PyObject *fileobj)
{
    return ensure_no_transport((LoopObject *)self, fileobj) < 0 ? NULL
                                                                : _remove_reader(self, fileobj);
}

static PyObject *
remove_writer(PyObject *self, PyObject *fileobj)
{
    return ensure_no_transport((LoopObject *)self, fileobj) < 0 ? NULL
                                                                : _remove_writer(self, fileobj);
}

/* Return the mask of the selectors module for a side: 1 to read, 2 to write. */
static PyObject *
_watched(PyObject *self, PyObject *fileobj)
{
    LoopObject *loop = (LoopObject *)self;
    int fd = number_of(loop, fileobj);
    if (fd < 0) {
        return NULL;
    }
    return PyLong_FromUnsignedLong(watch_sides(loop, fd));
}

BY_KEYWORD_TOO(remove_reader, "remove_reader", "fd")
BY_KEYWORD_TOO(remove_writer, "remove_writer", "fd")
BY_KEYWORD_TOO(_remove_reader, "_remove_reader", "fd")
BY_KEYWORD_TOO(_remove_writer, "_remove_writer", "fd")

PyMethodDef readers_methods[] = {
    {"add_reader", KEYWORDS(add_reader), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("add_reader($self, fd, callback, *args)\n--\n\n"
               "Call callback(*args) whenever fd can be read.")},
    {"remove_reader", KEYWORDS(remove_reader_call), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("remove_reader($self, fd)\n--\n\n"
               "Stop watching fd for reading. Return True if it was watched.")},
    {"add_writer", KEYWORDS(add_writer), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("add_writer($self, fd, callback, *args)\n--\n\n"
               "Call callback(*args) whenever fd can be written.")},
    {"remove_writer", KEYWORDS(remove_writer_call), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("remove_writer($self, fd)\n--\n\n"
               "Stop watching fd for writing. Return True if it was watched.")},
    {"_add_reader", KEYWORDS(_add_reader), METH_FASTCALL | METH_KEYWORDS, NULL},
    {"_remove_reader", KEYWORDS(_remove_reader_call), METH_FASTCALL | METH_KEYWORDS, NULL},
    {"_add_writer", KEYWORDS(_add_writer), METH_FASTCALL | METH_KEYWORDS, NULL},
    {"_remove_writer", KEYWORDS(_remove_writer_call), METH_FASTCALL | METH_KEYWORDS, NULL},
    {"_watched", _watched, METH_O, NULL},
    {"_ensure_fd_no_transport", ensure_fd_no_transport, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};
