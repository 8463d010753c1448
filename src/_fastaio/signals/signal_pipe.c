/* signal_pipe.c: the pipe that gets the signals of the process while a loop runs.
 *
 * CPython's C handler writes the number of each signal to the wakeup descriptor of the process.
 * That descriptor is a number without an owner. If a pipe were closed while the process has its
 * number, later signals would be written into the next file that gets the number. So the pipe
 * closes itself, and takes its number away first. Both steps are C code within one bytecode: no
 * KeyboardInterrupt comes between.
 */
#include "signals/signal_pipe.h"

#include "base/error.h"
#include "base/guard.h"
#include "signals/wakeup_slot.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* Bytes of one read(): the default capacity of a pipe. */
#define READ_SIZE 65536

typedef struct SignalPipe {
    PyObject_HEAD
    fastaio_state *st;       /* NULL: closed, and not in the list st->signal_pipes */
    struct SignalPipe *next; /* in that list */
    struct SignalPipe *previous;
    int reader; /* -1: closed */
    int writer;
    ino_t inode; /* of the pipe */
    unsigned fork_count; /* st->fork_count when the pipe was made */
    bool lent; /* the process may have the writer's number as its wakeup descriptor */
} SignalPipeObject;

/* ---- the wakeup descriptor ------------------------------------------------------------------- */

/* Call signal.set_wakeup_fd(fd, warn_on_full_buffer=warns). Return the former descriptor: -1 for
   none; -2 with an exception, ValueError in any thread but the main thread of the main interpreter. */
static int
exchange_fd(int fd, bool warns)
{
    PyObject *module = PyImport_ImportModule("signal");
    PyObject *method = module ? PyObject_GetAttrString(module, "set_wakeup_fd") : NULL;
    PyObject *args = method ? Py_BuildValue("(i)", fd) : NULL;
    PyObject *kwargs = args ? Py_BuildValue("{sO}", "warn_on_full_buffer",
                                            warns ? Py_True : Py_False)
                            : NULL;
    PyObject *result = kwargs ? PyObject_Call(method, args, kwargs) : NULL;
    long previous = result ? PyLong_AsLong(result) : -2;
    Py_XDECREF(result);
    Py_XDECREF(kwargs);
    Py_XDECREF(args);
    Py_XDECREF(method);
    Py_XDECREF(module);
    return PyErr_Occurred() ? -2 : (int)previous;
}

/* Exchange the descriptor in any thread. Return the former one, or -2 without an exception if that
   is not possible. Keep the pending exception. */
static int
exchange_fd_anywhere(int fd, bool warns)
{
    PyObject *pending = PyErr_GetRaisedException();
    int previous = exchange_fd(fd, warns);
    if (previous == -2) {
        PyErr_Clear(); /* not the main thread */
#if HAS_SET_WAKEUP_FD
        previous = PySignal_SetWakeupFd(fd);
#endif
    }
    if (pending != NULL) {
        PyErr_SetRaisedException(pending);
    }
    return previous;
}

/* Take the writer's number away from the process if that is the wakeup descriptor. Return false if
   it may still be. */
static bool
take_number_away(SignalPipeObject *self)
{
    WakeupSlot slot;
    if (!self->lent) {
        return true;
    }
    if (!relaxed_load(&self->st->wakeup_slot_proved) || !wakeup_slot_read(&slot) || slot.fd == self->writer) {
        int previous = exchange_fd_anywhere(-1, true);
        if (previous == -2) {
            return false;
        }
        if (previous != -1 && previous != self->writer) {
            /* The descriptor of others goes back. Whether it warned of a full buffer is not known:
               use the default. */
            exchange_fd_anywhere(previous, true);
        }
    }
    self->lent = false;
    return true;
}

/* ---- forks ----------------------------------------------------------------------------------- */

static ino_t
inode_of(int fd)
{
    struct stat status;
    return fstat(fd, &status) == 0 && S_ISFIFO(status.st_mode) ? status.st_ino : 0;
}

/* Put a pipe of the child's own in the place of one that a forked child has inherited, under the same numbers.
   Otherwise one of parent and child would read the signals of the other. Numbers that the child has closed are left
   alone: another file may have them. The caller has the state's lock. Return 0 or an errno. */
static int
renew_locked(SignalPipeObject *self, const fastaio_state *st)
{
    int fds[2];
    if (self->fork_count == st->fork_count) {
        return 0;
    }
    if (inode_of(self->reader) != self->inode || inode_of(self->writer) != self->inode) {
        self->fork_count = st->fork_count;
        return 0;
    }
    if (pipe2(fds, O_NONBLOCK | O_CLOEXEC) < 0) {
        return errno;
    }
    int error = dup3(fds[0], self->reader, O_CLOEXEC) < 0 || dup3(fds[1], self->writer, O_CLOEXEC) < 0
                    ? errno : 0;
    close(fds[0]);
    close(fds[1]);
    if (error == 0) {
        self->inode = inode_of(self->reader);
        self->fork_count = st->fork_count;
    }
    return error;
}

/* Do renew_locked() before a use of the pipe. Return 0, or -1 with OSError. */
static int
renew(SignalPipeObject *self)
{
    fastaio_state *st = self->st;
    int error = 0;
    if (st != NULL) {
        state_lock(st);
        error = renew_locked(self, st);
        state_unlock(st);
    }
    return error != 0 ? raise_errno(error) : 0;
}

int
signal_pipes_renew(fastaio_state *st)
{
    int error = 0;
    state_lock(st);
    for (SignalPipeObject *pipe = st->signal_pipes; pipe != NULL && error == 0; pipe = pipe->next) {
        error = renew_locked(pipe, st);
    }
    state_unlock(st);
    return error != 0 ? raise_errno(error) : 0;
}

void
signal_pipe_after_fork(fastaio_state *st)
{
    for (SignalPipeObject *pipe = st->signal_pipes; pipe != NULL; pipe = pipe->next) {
        take_number_away(pipe);
    }
}

/* ---- methods --------------------------------------------------------------------------------- */

static PyObject *
pipe_claim(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    SignalPipeObject *self = (SignalPipeObject *)op;
    fastaio_state *st = self->st;
    WakeupSlot before, after;
    if (st == NULL) {
        Py_RETURN_FALSE;
    }
    if (renew(self) < 0) {
        return NULL;
    }
    bool readable = wakeup_slot_read(&before);
    if (relaxed_load(&st->wakeup_slot_proved) && before.fd != -1 && before.fd != self->writer) {
        Py_RETURN_FALSE;
    }
    bool was_lent = self->lent;
    self->lent = true;
    int previous = exchange_fd(self->writer, false);
    if (previous == -2) {
        if (!PyErr_ExceptionMatches(PyExc_ValueError)) {
            return NULL;
        }
        PyErr_Clear(); /* a subinterpreter, or not the main thread */
        self->lent = was_lent;
        Py_RETURN_FALSE;
    }
    if (readable && wakeup_slot_read(&after)) {
        relaxed_store(&st->wakeup_slot_proved,
                      before.fd == previous && after.fd == self->writer && !after.warns);
    }
    if (previous != -1 && previous != self->writer) {
        exchange_fd_anywhere(previous, relaxed_load(&st->wakeup_slot_proved) ? before.warns : true);
        self->lent = false;
        Py_RETURN_FALSE;
    }
    Py_RETURN_TRUE;
}

static PyObject *
pipe_release(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    SignalPipeObject *self = (SignalPipeObject *)op;
    if (self->st != NULL) {
        take_number_away(self);
    }
    Py_RETURN_NONE;
}

static PyObject *
pipe_read(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    SignalPipeObject *self = (SignalPipeObject *)op;
    PyObject *data = renew(self) == 0 ? PyBytes_FromStringAndSize(NULL, READ_SIZE) : NULL;
    if (data == NULL) {
        return NULL;
    }
    ssize_t count;
    do {
        count = read(self->reader, PyBytes_AS_STRING(data), READ_SIZE);
    } while (count < 0 && errno == EINTR);
    if (count < 0 && errno != EAGAIN && self->reader >= 0) {
        Py_DECREF(data);
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    if (_PyBytes_Resize(&data, count > 0 ? count : 0) < 0) {
        return NULL;
    }
    return data;
}

static PyObject *
pipe_fileno(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    SignalPipeObject *self = (SignalPipeObject *)op;
    if (renew(self) < 0) {
        return NULL;
    }
    /* The caller gives the number to the process. Only the main interpreter can. */
    if (self->st != NULL && PyInterpreterState_Get() == PyInterpreterState_Main()) {
        self->lent = true;
    }
    return PyLong_FromLong(self->writer);
}

/* Remove the pipe from the list of open ones. */
static void
unlink_pipe(SignalPipeObject *self)
{
    fastaio_state *st = self->st;
    state_lock(st);
    if (self->next != NULL) {
        self->next->previous = self->previous;
    }
    if (self->previous != NULL) {
        self->previous->next = self->next;
    }
    else {
        st->signal_pipes = self->next;
    }
    self->next = self->previous = NULL;
    self->st = NULL;
    state_unlock(st);
}

/* Take the number away and close both ends, once. */
static void
close_pipe(SignalPipeObject *self)
{
    int reader = self->reader, writer = self->writer;
    if (self->st == NULL) {
        return;
    }
    bool taken = take_number_away(self);
    if (self->st == NULL) { /* a set_wakeup_fd() in Python has closed the pipe */
        return;
    }
    unlink_pipe(self);
    self->reader = self->writer = -1;
    if (taken) { /* otherwise the pipe stays open, so that no other file gets the number */
        close(writer);
        close(reader);
    }
}

static PyObject *
pipe_close(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    close_pipe((SignalPipeObject *)op);
    Py_RETURN_NONE;
}

/* ---- the type -------------------------------------------------------------------------------- */

static PyObject *
pipe_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {NULL};
    fastaio_state *st = state_of_type(type);
    int fds[2];
    if (st == NULL || !PyArg_ParseTupleAndKeywords(args, kwargs, ":SignalPipe", names)) {
        return NULL;
    }
    SignalPipeObject *self = (SignalPipeObject *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->reader = self->writer = -1;
    if (pipe2(fds, O_NONBLOCK | O_CLOEXEC) < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        Py_DECREF(self);
        return NULL;
    }
    self->reader = fds[0];
    self->writer = fds[1];
    self->inode = inode_of(self->reader);
    self->fork_count = st->fork_count;
    self->st = st;
    state_lock(st);
    self->next = st->signal_pipes;
    if (self->next != NULL) {
        self->next->previous = self;
    }
    st->signal_pipes = self;
    state_unlock(st);
    return (PyObject *)self;
}

static void
pipe_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    close_pipe((SignalPipeObject *)op);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyObject *
get_reader(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromLong(((SignalPipeObject *)op)->reader);
}

static PyObject *
get_writer(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromLong(((SignalPipeObject *)op)->writer);
}

static PyMethodDef pipe_methods[] = {
    {"claim", pipe_claim, METH_NOARGS,
     PyDoc_STR("claim($self, /)\n--\n\n"
               "Make the pipe the wakeup descriptor of the process. Return False if the program\n"
               "has set one, or outside the main thread of the main interpreter.")},
    {"release", pipe_release, METH_NOARGS,
     PyDoc_STR("release($self, /)\n--\n\nTake the wakeup descriptor away, if it is the pipe.")},
    {"read", pipe_read, METH_NOARGS,
     PyDoc_STR("read($self, /)\n--\n\n"
               "Return the numbers of the signals since the last call, a byte each.")},
    {"fileno", pipe_fileno, METH_NOARGS,
     PyDoc_STR("fileno($self, /)\n--\n\n"
               "Return the descriptor to write to. The caller makes it the wakeup descriptor.")},
    {"close", pipe_close, METH_NOARGS,
     PyDoc_STR("close($self, /)\n--\n\nTake the wakeup descriptor away and close both ends.")},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef pipe_getset[] = {
    {"reader", get_reader, NULL, PyDoc_STR("The descriptor to read from; -1 once closed."), NULL},
    {"writer", get_writer, NULL, PyDoc_STR("The descriptor to write to; -1 once closed."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot pipe_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR(
         "SignalPipe()\n--\n\n"
         "A non-blocking pipe of signal numbers.\n\n"
         "A signal takes one byte, so by default the pipe holds 65,536 signals. asyncio's pair of\n"
         "sockets holds a few hundred.")},
    {Py_tp_new, pipe_new},
    {Py_tp_dealloc, pipe_dealloc},
    {Py_tp_methods, pipe_methods},
    {Py_tp_getset, pipe_getset},
    {0, NULL},
};

static PyType_Spec pipe_spec = {
    .name = "fastaio._fastaio.SignalPipe",
    .basicsize = sizeof(SignalPipeObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = pipe_slots,
};

static const GuardRules pipe_rules = {NULL, NULL}; /* a pipe is of no loop */

int
signal_pipe_type_init(PyObject *module)
{
    PyTypeObject *type = state_add_type(module, &pipe_spec, NULL);
    int result = type != NULL ? guard_type(state_of_module(module), type, &pipe_rules) : -1;
    Py_XDECREF(type);
    return result;
}
