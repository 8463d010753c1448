/* tls_cipher.c: the seam between the data path and what encrypts.
 *
 * Either the SSLObject's methods are called, whatever it is, or, where it is
 * exactly Python's and the layout is proved, OpenSSL behind it.  Both work on
 * the same objects, so that handshake, shutdown and every question of the user
 * go through Python's ssl in either case.
 */
#include "tls/tls_impl.h"

#include <time.h>

/* How often a thread that must wait for another one looks whether it may go on. */
#define WAIT_NS (50 * 1000)

/* ---- one thread at a time -------------------------------------------------------------------- */

static void
set_busy(TlsObject *self)
{
    self->busy = true;
    self->busy_in = PyThread_get_thread_ident();
    self->busy_fork_count = self->loop->st->fork_count;
}

void
cipher_wait_idle(TlsObject *self)
{
    unsigned long thread = PyThread_get_thread_ident();
    /* A callback of ssl runs in the thread that works: that thread must not wait for itself. */
    while (self->busy && self->busy_in != thread
           && self->busy_fork_count == self->loop->st->fork_count) {
        struct timespec pause = {.tv_nsec = WAIT_NS};
        Py_BEGIN_ALLOW_THREADS
        nanosleep(&pause, NULL);
        Py_END_ALLOW_THREADS
    }
}

/* Call a method of _ssl, which releases the GIL itself. */
static PyObject *
call_busy(TlsObject *self, PyObject *method, PyObject *const *args, size_t count)
{
    bool nested = self->busy;
    Py_INCREF(method);
    if (!nested) {
        set_busy(self);
    }
    PyObject *result = PyObject_Vectorcall(method, args, count, NULL);
    if (!nested) {
        self->busy = false;
    }
    Py_DECREF(method);
    return result;
}

/* ---- methods of Python's objects ------------------------------------------------------------- */

/* After a method has failed: whether that only means "later". */
static int
again_or_error(TlsObject *self)
{
    PyObject *again = self->loop->st->tls->again;
    if (again != NULL && PyErr_ExceptionMatches(again)) {
        PyErr_Clear();
        return CIPHER_AGAIN;
    }
    return CIPHER_ERROR;
}

/* method(size, buffer), which _ssl has: without a copy. */
static int
read_into(TlsObject *self, char *buffer, Py_ssize_t size, Py_ssize_t *count)
{
    PyObject *number = PyLong_FromSsize_t(size);
    PyObject *view = PyMemoryView_FromMemory(buffer, size, PyBUF_WRITE);
    PyObject *result = NULL;
    if (number != NULL && view != NULL) {
        PyObject *args[] = {number, view};
        result = call_busy(self, self->read, args, 2);
    }
    Py_XDECREF(number);
    Py_XDECREF(view);
    if (result == NULL) {
        return again_or_error(self);
    }
    *count = PyLong_AsSsize_t(result);
    Py_DECREF(result);
    if (*count < 0) {
        return CIPHER_ERROR;
    }
    return *count > 0 ? CIPHER_DONE : CIPHER_EOF;
}

/* method(size), for whatever object. */
static int
read_and_copy(TlsObject *self, char *buffer, Py_ssize_t size, Py_ssize_t *count)
{
    PyObject *number = PyLong_FromSsize_t(size);
    PyObject *read = Py_NewRef(self->read); /* which may unwrap the connection */
    PyObject *result = number != NULL ? PyObject_CallOneArg(read, number) : NULL;
    Py_DECREF(read);
    Py_XDECREF(number);
    if (result == NULL) {
        return again_or_error(self);
    }
    Py_buffer view;
    if (PyObject_GetBuffer(result, &view, PyBUF_SIMPLE) < 0) {
        Py_DECREF(result);
        return CIPHER_ERROR;
    }
    int rc = view.len > 0 ? CIPHER_DONE : CIPHER_EOF;
    if (view.len > size) {
        PyErr_SetString(PyExc_ValueError, "read() returned more than it was asked for");
        rc = CIPHER_ERROR;
    }
    else {
        memcpy(buffer, view.buf, (size_t)view.len);
        *count = view.len;
    }
    PyBuffer_Release(&view);
    Py_DECREF(result);
    return rc;
}

static int
objects_read_once(TlsObject *self, char *buffer, Py_ssize_t size, Py_ssize_t *count)
{
    return self->exact ? read_into(self, buffer, size, count)
                       : read_and_copy(self, buffer, size, count);
}

static int
objects_write(TlsObject *self, const char *data, Py_ssize_t size, Py_ssize_t *count)
{
    /* Who is not known may keep what it is given. */
    PyObject *bytes = self->exact ? PyMemoryView_FromMemory((char *)data, size, PyBUF_READ)
                                  : PyBytes_FromStringAndSize(data, size);
    if (bytes == NULL) {
        return CIPHER_ERROR;
    }
    PyObject *write = Py_NewRef(self->write); /* which may unwrap the connection */
    PyObject *result = self->exact ? call_busy(self, write, &bytes, 1)
                                   : PyObject_CallOneArg(write, bytes);
    Py_DECREF(write);
    Py_DECREF(bytes);
    if (result == NULL) {
        return again_or_error(self);
    }
    *count = PyLong_AsSsize_t(result);
    Py_DECREF(result);
    if (*count < 0 || *count > size) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_ValueError, "write() returned an impossible count");
        }
        return CIPHER_ERROR;
    }
    return CIPHER_DONE;
}

static Py_ssize_t
objects_pending(TlsObject *self, PyObject *bio)
{
    PyObject *number = PyObject_GetAttr(bio, self->loop->st->str_pending);
    if (number == NULL) {
        return -1;
    }
    Py_ssize_t size = PyLong_AsSsize_t(number);
    Py_DECREF(number);
    return size;
}

static int
objects_has_more(TlsObject *self)
{
    if (!self->exact) {
        return 1; /* its next read() says so */
    }
    Py_ssize_t size = objects_pending(self, self->incoming);
    if (size != 0) {
        return size < 0 ? -1 : 1;
    }
    PyObject *number = PyObject_CallNoArgs(self->pending);
    int more = number != NULL ? PyObject_IsTrue(number) : -1;
    Py_XDECREF(number);
    return more;
}

/* Read records until there is no more or the buffer is full. */
static int
objects_read(TlsObject *self, char *buffer, Py_ssize_t size, Py_ssize_t *total)
{
    for (;;) {
        Py_ssize_t count;
        if (self->read == NULL) { /* unwrapped by the last read */
            return CIPHER_AGAIN;
        }
        int rc = objects_read_once(self, buffer + *total, size - *total, &count);
        if (rc != CIPHER_DONE) {
            return rc;
        }
        *total += count;
        int more = objects_has_more(self);
        if (more <= 0) {
            return more < 0 ? CIPHER_ERROR : CIPHER_AGAIN;
        }
        if (*total == size) {
            return CIPHER_DONE;
        }
    }
}

static int
objects_feed(TlsObject *self, const char *data, Py_ssize_t size)
{
    PyObject *bytes = self->exact ? PyMemoryView_FromMemory((char *)data, size, PyBUF_READ)
                                  : PyBytes_FromStringAndSize(data, size);
    PyObject *result = NULL;
    if (bytes != NULL) {
        result = PyObject_CallMethodOneArg(self->incoming, self->loop->st->str_write, bytes);
        Py_DECREF(bytes);
    }
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

static int
objects_take(TlsObject *self, PyObject **data)
{
    PyObject *bytes = PyObject_CallMethodNoArgs(self->outgoing, self->loop->st->str_read);
    Py_ssize_t size = bytes != NULL ? PyObject_Size(bytes) : -1;
    if (size <= 0) {
        Py_CLEAR(bytes);
    }
    *data = bytes;
    return size < 0 ? -1 : 0;
}

/* ---- OpenSSL --------------------------------------------------------------------------------- */

static inline OpenSSL *
library(TlsObject *self)
{
    return &self->loop->st->tls->openssl;
}

/* Where the SSL reads from. */
static inline void *
openssl_source(TlsObject *self)
{
    return self->lent != NULL ? self->lent : self->handles.incoming;
}

/* What others have left behind would be taken for an error of ours. */
static inline void
forget_errors(OpenSSL *lib)
{
    if (lib->ERR_peek_error() != 0) {
        lib->ERR_clear_error();
    }
}

/* ---- OpenSSL without the GIL ----------------------------------------------------------------- */

/* What one stretch of work needs, and what it says. No Python object is touched on the way: `data`,
   the SSL and its BIOs are kept alive by whoever calls. */
typedef struct {
    OpenSSL *lib;
    void *ssl;
    void *source; /* the BIO that the SSL reads from */
    char *data;
    size_t size;
    size_t done; /* bytes */
    int error;   /* of SSL_get_error(); 0: none */
} Work;

static void
work_write(Work *work)
{
    int result = work->lib->SSL_write_ex(work->ssl, work->data, work->size, &work->done);
    work->error = result > 0 ? 0 : work->lib->SSL_get_error(work->ssl, result);
}

/* Read records until there is no more or the buffer is full: SSL_read_ex() gives one at a time. */
static void
work_read(Work *work)
{
    OpenSSL *lib = work->lib;
    bool more = true;
    while (more && work->done < work->size && work->error == 0) {
        size_t count = 0;
        int result = lib->SSL_read_ex(work->ssl, work->data + work->done, work->size - work->done,
                                      &count);
        work->error = result > 0 ? 0 : lib->SSL_get_error(work->ssl, result);
        work->done += count;
        more = lib->BIO_ctrl_pending(work->source) > 0 || lib->SSL_pending(work->ssl) > 0;
    }
    if (!more && work->error == 0) {
        work->error = OPENSSL_ERROR_WANT_READ; /* the next call would say so */
    }
    if (work->error == OPENSSL_ERROR_ZERO_RETURN &&
        lib->SSL_get_shutdown(work->ssl) != OPENSSL_RECEIVED_SHUTDOWN) {
        work->error = OPENSSL_ERROR_SSL;
    }
}

/* Do the work; what may last releases the GIL. Return false if the connection has been exchanged
   for another one in the meantime. */
static bool
work_run(TlsObject *self, Work *work, void (*job)(Work *), size_t expected)
{
    forget_errors(work->lib);
    if (expected < CIPHER_RELEASE || self->busy) {
        job(work);
        return true;
    }
    PyObject *inner = Py_NewRef(self->inner); /* keeps the SSL and its BIOs */
    set_busy(self);
    Py_BEGIN_ALLOW_THREADS
    job(work);
    Py_END_ALLOW_THREADS
    self->busy = false;
    bool same = self->inner == inner;
    Py_DECREF(inner);
    return same;
}

/* tp_traverse's visitor. */
static int
is_exception(PyObject *obj, void *Py_UNUSED(arg))
{
    return PyExceptionInstance_Check(obj) || PyExceptionClass_Check(obj);
}

/* Whether a callback of the context has raised. Such a callback (_msg_callback, a key log) leaves its
   exception in the object of _ssl, whose method then raises it. The garbage collector's way of
   looking finds it without knowledge of the layout. */
static bool
callback_failed(TlsObject *self)
{
    traverseproc traverse = Py_TYPE(self->inner)->tp_traverse;
    return traverse != NULL && traverse(self->inner, is_exception, NULL) != 0;
}

/* Raise it by a method that has nothing else to do. */
static int
raise_from_callback(TlsObject *self)
{
    PyObject *inner = Py_NewRef(self->inner);
    PyObject *result = PyObject_CallMethod(inner, "do_handshake", NULL);
    Py_DECREF(inner);
    return drop_result(result);
}

/* An error is left in OpenSSL's queue: the method of _ssl, called again, finds the connection in
   that state and raises the exception that it always raises. */
static int
openssl_read(TlsObject *self, char *buffer, Py_ssize_t size, Py_ssize_t *total)
{
    OpenSSL *lib = library(self);
    Work work = {
        .lib = lib,
        .ssl = self->handles.ssl,
        .source = openssl_source(self),
        .data = buffer,
        .size = (size_t)size,
    };
    size_t waiting = lib->BIO_ctrl_pending(work.source);
    bool same = work_run(self, &work, work_read, waiting < work.size ? waiting : work.size);
    *total = (Py_ssize_t)work.done;
    if (!same) {
        return CIPHER_AGAIN;
    }
    bool failed = callback_failed(self);
    if (failed && work.done > 0 && raise_from_callback(self) < 0) {
        return CIPHER_ERROR;
    }
    switch (work.error) {
    case 0:
        return CIPHER_DONE;
    case OPENSSL_ERROR_ZERO_RETURN:
        return CIPHER_EOF;
    case OPENSSL_ERROR_WANT_READ:
        if (!failed) {
            return CIPHER_AGAIN;
        }
        break;
    }
    Py_ssize_t count = 0;
    int rc = objects_read_once(self, buffer + *total, size - *total, &count);
    *total += count;
    return rc;
}

static int
openssl_write(TlsObject *self, const char *data, Py_ssize_t size, Py_ssize_t *count)
{
    Work work = {
        .lib = library(self),
        .ssl = self->handles.ssl,
        .data = (char *)data,
        .size = (size_t)size,
    };
    bool same = work_run(self, &work, work_write, work.size);
    *count = (Py_ssize_t)work.done;
    if (!same) {
        return CIPHER_DONE;
    }
    bool failed = callback_failed(self);
    if (work.error == 0) {
        return failed && raise_from_callback(self) < 0 ? CIPHER_ERROR : CIPHER_DONE;
    }
    if (work.error == OPENSSL_ERROR_WANT_READ && !failed) {
        return CIPHER_AGAIN;
    }
    return objects_write(self, data, size, count);
}

static int
openssl_feed(TlsObject *self, const char *data, Py_ssize_t size)
{
    while (size > 0) {
        int part = size < INT_MAX ? (int)size : INT_MAX;
        int count = library(self)->BIO_write(self->handles.incoming, data, part);
        if (count <= 0) {
            library(self)->ERR_clear_error();
            PyErr_NoMemory();
            return -1;
        }
        data += count;
        size -= count;
    }
    return 0;
}

/* The SSL reads from this memory itself, while its own BIO waits. */
static int
openssl_lend(TlsObject *self, const char *data, Py_ssize_t size)
{
    OpenSSL *lib = library(self);
    if (size > INT_MAX || lib->BIO_ctrl_pending(self->handles.incoming) != 0) {
        return 0;
    }
    void *bio = lib->BIO_new_mem_buf(data, (int)size);
    if (bio == NULL) {
        lib->ERR_clear_error();
        return 0;
    }
    /* Its end is not the connection's: "again", not "no more". */
    if (lib->BIO_ctrl(bio, OPENSSL_SET_BUF_MEM_EOF_RETURN, -1, NULL) <= 0) {
        lib->BIO_free(bio);
        return 0;
    }
    lib->SSL_set0_rbio(self->handles.ssl, bio); /* which gives its reference to the other back */
    self->lent = bio;
    self->lent_end = data + size;
    return 1;
}

static int
openssl_settle(TlsObject *self)
{
    OpenSSL *lib = library(self);
    void *own = self->handles.incoming;
    size_t left = lib->BIO_ctrl_pending(self->lent);
    self->lent = NULL;
    lib->BIO_up_ref(own);
    lib->SSL_set0_rbio(self->handles.ssl, own);
    return left ? openssl_feed(self, self->lent_end - left, (Py_ssize_t)left) : 0;
}

static int
openssl_take(TlsObject *self, PyObject **data)
{
    OpenSSL *lib = library(self);
    size_t size = lib->BIO_ctrl_pending(self->handles.outgoing);
    *data = NULL;
    if (size == 0) {
        return 0;
    }
    if (size > CIPHER_TAKE) {
        size = CIPHER_TAKE;
    }
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (bytes == NULL) {
        return -1;
    }
    int count = lib->BIO_read(self->handles.outgoing, PyBytes_AS_STRING(bytes), (int)size);
    if (count != (int)size) {
        Py_DECREF(bytes);
        PyErr_SetString(PyExc_RuntimeError, "OpenSSL gave less than it had");
        return -1;
    }
    *data = bytes;
    return 0;
}

/* ---- which of the two ------------------------------------------------------------------------ */

void
cipher_unbind(TlsObject *self)
{
    cipher_wait(self);
    if (self->lent != NULL && openssl_settle(self) < 0) {
        PyErr_WriteUnraisable((PyObject *)self);
    }
    self->cipher = CIPHER_UNBOUND;
    self->exact = false;
    self->handles = (SslHandles){0};
    Py_CLEAR(self->inner);
    Py_CLEAR(self->read);
    Py_CLEAR(self->write);
    Py_CLEAR(self->pending);
}

/* Whether type(obj).name is still the function that it was. */
static int
is_untouched(PyObject *type, const char *name, PyObject *function)
{
    PyObject *now = PyObject_GetAttrString(type, name);
    Py_XDECREF(now);
    return now == NULL ? -1 : now == function;
}

/* Whether the SSLObject is just what ssl makes, none of its methods replaced: 1, 0, -1. */
static int
is_plain(TlsState *tls, TlsObject *self)
{
    if ((PyObject *)Py_TYPE(self->sslobj) != tls->SSLObject ||
        (PyObject *)Py_TYPE(self->incoming) != tls->MemoryBIO ||
        (PyObject *)Py_TYPE(self->outgoing) != tls->MemoryBIO) {
        return 0;
    }
    int rc = is_untouched(tls->SSLObject, "read", tls->SSLObject_read);
    if (rc > 0) {
        rc = is_untouched(tls->SSLObject, "write", tls->SSLObject_write);
    }
    if (rc > 0) {
        rc = is_untouched(tls->SSLObject, "pending", tls->SSLObject_pending);
    }
    if (rc <= 0) {
        return rc;
    }
    PyObject *dict = PyObject_GenericGetDict(self->sslobj, NULL);
    if (dict == NULL) {
        return -1;
    }
    rc = PyDict_GetItemString(dict, "read") == NULL &&
         PyDict_GetItemString(dict, "write") == NULL &&
         PyDict_GetItemString(dict, "pending") == NULL;
    Py_DECREF(dict);
    return rc;
}

/* What the SSLObject calls itself, or NULL with no exception where that is not _ssl's. */
static PyObject *
behind(TlsState *tls, TlsObject *self)
{
    PyObject *inner = PyObject_GetAttrString(self->sslobj, "_sslobj");
    if (inner != NULL && (PyObject *)Py_TYPE(inner) != tls->SSLSocket) {
        Py_CLEAR(inner);
    }
    return inner;
}

/* Whether Python is called for each message of the connection (the context's _msg_callback): 1, 0,
   -1. */
static int
has_message_callback(PyObject *inner)
{
    PyObject *context = PyObject_GetAttrString(inner, "context");
    PyObject *callback = context ? PyObject_GetAttrString(context, "_msg_callback") : NULL;
    int has = callback != NULL ? callback != Py_None : -1;
    Py_XDECREF(callback);
    Py_XDECREF(context);
    return has;
}

static int
wants_openssl(TlsObject *self, PyObject *inner)
{
    PyObject *wanted = PyObject_GetAttrString((PyObject *)self, "direct");
    int rc = wanted != NULL ? PyObject_IsTrue(wanted) : -1;
    Py_XDECREF(wanted);
    if (rc > 0) {
        /* Such a callback sees, and stops, each call of a method. */
        int has = has_message_callback(inner);
        rc = has < 0 ? -1 : !has;
    }
    return rc;
}

static int
bind_methods(TlsObject *self, PyObject *obj)
{
    fastaio_state *st = self->loop->st;
    Py_XSETREF(self->read, PyObject_GetAttr(obj, st->str_read));
    Py_XSETREF(self->write, self->read ? PyObject_GetAttr(obj, st->str_write) : NULL);
    Py_XSETREF(self->pending, self->write ? PyObject_GetAttr(obj, st->str_pending) : NULL);
    return self->pending != NULL ? 0 : -1;
}

static int
bind_cipher(TlsObject *self)
{
    if (self->loop == NULL || self->sslobj == NULL || self->incoming == NULL ||
        self->outgoing == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the TLS protocol is not initialised");
        return -1;
    }
    TlsState *tls = self->loop->st->tls;
    int plain = is_plain(tls, self);
    PyObject *inner = plain > 0 ? behind(tls, self) : NULL;
    if (plain < 0 || PyErr_Occurred()) {
        return -1;
    }
    int rc = bind_methods(self, inner != NULL ? inner : self->sslobj);
    int direct = 0;
    self->exact = inner != NULL;
    Py_XSETREF(self->inner, inner);
    if (rc == 0 && self->exact) {
        direct = wants_openssl(self, inner);
        if (direct > 0) {
            direct = openssl_handles(&tls->openssl, inner, self->incoming, self->outgoing,
                                     &self->handles);
        }
    }
    if (rc < 0 || direct < 0) {
        cipher_unbind(self);
        return -1;
    }
    self->cipher = direct ? CIPHER_OPENSSL : CIPHER_OBJECTS;
    return 0;
}

/* ---- the seam -------------------------------------------------------------------------------- */

#define BIND(self)                                                   \
    cipher_wait(self);                                               \
    if ((self)->cipher == CIPHER_UNBOUND && bind_cipher(self) < 0) { \
        return -1;                                                   \
    }

int
cipher_read(TlsObject *self, char *buffer, Py_ssize_t size, Py_ssize_t *total)
{
    *total = 0;
    BIND(self)
    return self->cipher == CIPHER_OPENSSL ? openssl_read(self, buffer, size, total)
                                          : objects_read(self, buffer, size, total);
}

int
cipher_write(TlsObject *self, const char *data, Py_ssize_t size, Py_ssize_t *count)
{
    *count = 0;
    BIND(self)
    return self->cipher == CIPHER_OPENSSL ? openssl_write(self, data, size, count)
                                          : objects_write(self, data, size, count);
}

int
cipher_feed(TlsObject *self, const char *data, Py_ssize_t size)
{
    BIND(self)
    return self->cipher == CIPHER_OPENSSL ? openssl_feed(self, data, size)
                                          : objects_feed(self, data, size);
}

int
cipher_lend(TlsObject *self, const char *data, Py_ssize_t size)
{
    BIND(self)
    return self->cipher == CIPHER_OPENSSL ? openssl_lend(self, data, size) : 0;
}

int
cipher_settle(TlsObject *self)
{
    return self->lent != NULL ? openssl_settle(self) : 0;
}

int
cipher_take(TlsObject *self, PyObject **data)
{
    *data = NULL;
    BIND(self)
    return self->cipher == CIPHER_OPENSSL ? openssl_take(self, data) : objects_take(self, data);
}

Py_ssize_t
cipher_incoming(TlsObject *self)
{
    BIND(self)
    return self->cipher == CIPHER_OPENSSL
               ? (Py_ssize_t)library(self)->BIO_ctrl_pending(openssl_source(self))
               : objects_pending(self, self->incoming);
}

Py_ssize_t
cipher_outgoing(TlsObject *self)
{
    BIND(self)
    return self->cipher == CIPHER_OPENSSL
               ? (Py_ssize_t)library(self)->BIO_ctrl_pending(self->handles.outgoing)
               : objects_pending(self, self->outgoing);
}
