/* tls_cipher.c: the seam between the data path and what encrypts.
 *
 * By default the methods of the SSLObject are called, whatever it is. Where it is exactly Python's
 * and its layout is proved, OpenSSL behind it is called instead. Both work on the same objects. So
 * handshake, shutdown and each question of the user's go through Python's ssl in either case.
 */
#include "tls/tls_cipher.h"

#include <time.h>

/* How often a thread that waits for another one looks again. */
#define WAIT_NS (50 * 1000)

/* ---- one thread at a time -------------------------------------------------------------------- */

static void
set_busy(TlsObject *self)
{
    self->cipher.busy = true;
    self->cipher.busy_thread = PyThread_get_thread_ident();
    self->cipher.busy_fork_count = self->loop->st->fork_count;
}

void
cipher_wait_idle(TlsObject *self)
{
    unsigned long thread = PyThread_get_thread_ident();
    /* A callback of ssl runs in the thread that works, which must not wait for itself. */
    while (self->cipher.busy && self->cipher.busy_thread != thread &&
           self->cipher.busy_fork_count == self->loop->st->fork_count) {
        struct timespec pause = {.tv_nsec = WAIT_NS};
        Py_BEGIN_ALLOW_THREADS
        nanosleep(&pause, NULL);
        Py_END_ALLOW_THREADS
    }
}

PyObject *
cipher_call_alone(TlsObject *self, PyObject *function, PyObject *const *args, size_t count)
{
    Py_INCREF(function); /* whoever works may unbind it */
    cipher_wait(self);
    bool nested = self->cipher.busy;
    if (!nested) {
        set_busy(self);
    }
    PyObject *result = PyObject_Vectorcall(function, args, count, NULL);
    if (!nested) {
        self->cipher.busy = false;
    }
    Py_DECREF(function);
    return result;
}

/* ---- methods of Python's objects ------------------------------------------------------------- */

/* Return CIPHER_AGAIN if the raised exception only means "later", and clear it; else
   CIPHER_ERROR. */
static int
again_or_error(TlsObject *self)
{
    PyObject *again = self->loop->st->tls->again_errors;
    if (again != NULL && PyErr_ExceptionMatches(again)) {
        PyErr_Clear();
        return CIPHER_AGAIN;
    }
    return CIPHER_ERROR;
}

/* Call read(size, buffer), which methods of _ssl have. Return CIPHER_*, the number of bytes in
   *count. */
static int
read_into(TlsObject *self, char *buffer, Py_ssize_t size, Py_ssize_t *count)
{
    PyObject *number = PyLong_FromSsize_t(size);
    PyObject *view = PyMemoryView_FromMemory(buffer, size, PyBUF_WRITE);
    PyObject *result = NULL;
    if (number != NULL && view != NULL) {
        PyObject *args[] = {number, view};
        result = cipher_call_alone(self, self->cipher.read, args, 2);
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

/* Call read(size), which any object has. Return CIPHER_*, the number of bytes in *count. */
static int
read_and_copy(TlsObject *self, char *buffer, Py_ssize_t size, Py_ssize_t *count)
{
    PyObject *number = PyLong_FromSsize_t(size);
    PyObject *read = Py_NewRef(self->cipher.read); /* the call may unbind it */
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

/* Read one record, or a part of it. Return CIPHER_*. */
static int
objects_read_once(TlsObject *self, char *buffer, Py_ssize_t size, Py_ssize_t *count)
{
    return self->cipher.exact ? read_into(self, buffer, size, count)
                              : read_and_copy(self, buffer, size, count);
}

static int
objects_write(TlsObject *self, const char *data, Py_ssize_t size, Py_ssize_t *count)
{
    /* An unknown object may keep what it is given, so it gets a copy. */
    PyObject *bytes = self->cipher.exact ? PyMemoryView_FromMemory((char *)data, size, PyBUF_READ)
                                         : PyBytes_FromStringAndSize(data, size);
    if (bytes == NULL) {
        return CIPHER_ERROR;
    }
    PyObject *write = Py_NewRef(self->cipher.write); /* the call may unbind it */
    PyObject *result = self->cipher.exact ? cipher_call_alone(self, write, &bytes, 1)
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

/* Return 1 if another read may bring data, 0 if not, -1 with an exception. */
static int
objects_has_more(TlsObject *self)
{
    if (!self->cipher.exact) {
        return 1; /* only the next read() tells */
    }
    Py_ssize_t size = objects_pending(self, self->cipher.incoming);
    if (size != 0) {
        return size < 0 ? -1 : 1;
    }
    PyObject *number = PyObject_CallNoArgs(self->cipher.pending);
    int more = number != NULL ? PyObject_IsTrue(number) : -1;
    Py_XDECREF(number);
    return more;
}

/* Read records until the input is exhausted or the buffer is full. */
static int
objects_read(TlsObject *self, char *buffer, Py_ssize_t size, Py_ssize_t *total)
{
    for (;;) {
        Py_ssize_t count;
        if (self->cipher.read == NULL) { /* the last read has unbound it */
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
    PyObject *bytes = self->cipher.exact ? PyMemoryView_FromMemory((char *)data, size, PyBUF_READ)
                                         : PyBytes_FromStringAndSize(data, size);
    PyObject *result = NULL;
    if (bytes != NULL) {
        result = PyObject_CallMethodOneArg(self->cipher.incoming, self->loop->st->str_write, bytes);
        Py_DECREF(bytes);
    }
    return drop_result(result);
}

static int
objects_take(TlsObject *self, PyObject **data)
{
    PyObject *bytes = PyObject_CallMethodNoArgs(self->cipher.outgoing, self->loop->st->str_read);
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

/* Return the BIO that the SSL reads from. */
static inline void *
openssl_source(TlsObject *self)
{
    return self->cipher.lent != NULL ? self->cipher.lent : self->cipher.handles.incoming;
}

/* Empty OpenSSL's queue of errors: what others have left there would look like an error of this
   call. */
static inline void
forget_errors(OpenSSL *lib)
{
    if (lib->ERR_peek_error() != 0) {
        lib->ERR_clear_error();
    }
}

/* ---- OpenSSL without the GIL ----------------------------------------------------------------- */

/* The arguments and results of a job. It runs without the GIL and touches no Python object. The
   caller keeps `data`, the SSL and its BIOs alive. */
typedef struct {
    OpenSSL *lib;
    void *ssl;
    void *source; /* the BIO that the SSL reads from */
    char *data;
    size_t size;
    size_t done; /* bytes read or written */
    int error;   /* OPENSSL_ERROR_*; 0: none */
} Work;

static void
work_write(Work *work)
{
    int result = work->lib->SSL_write_ex(work->ssl, work->data, work->size, &work->done);
    work->error = result > 0 ? 0 : work->lib->SSL_get_error(work->ssl, result);
}

/* Read records until the input is exhausted or the buffer is full: SSL_read_ex() reads one at a
   time. */
static void
work_read(Work *work)
{
    OpenSSL *lib = work->lib;
    bool more = true;
    while (more && work->done < work->size && work->error == 0) {
        size_t count = 0;
        int result =
            lib->SSL_read_ex(work->ssl, work->data + work->done, work->size - work->done, &count);
        work->error = result > 0 ? 0 : lib->SSL_get_error(work->ssl, result);
        work->done += count;
        more = lib->BIO_ctrl_pending(work->source) > 0 || lib->SSL_pending(work->ssl) > 0;
    }
    if (!more && work->error == 0) {
        work->error = OPENSSL_ERROR_WANT_READ; /* what the next call would return */
    }
    if (work->error == OPENSSL_ERROR_ZERO_RETURN &&
        lib->SSL_get_shutdown(work->ssl) != OPENSSL_RECEIVED_SHUTDOWN) {
        work->error = OPENSSL_ERROR_SSL;
    }
}

/* Run a job on about `size` bytes. Release the GIL for CIPHER_RELEASE and more. Return false if the
   SSL object has been replaced meanwhile. Without a GIL nothing is released: other threads run
   anyway, and the critical section keeps those out that call methods of _ssl on the same object. */
static bool
work_run(TlsObject *self, Work *work, void (*job)(Work *), size_t size)
{
    forget_errors(work->lib);
    if (!HAS_GIL) {
        Py_BEGIN_CRITICAL_SECTION(self->cipher.inner);
        job(work);
        Py_END_CRITICAL_SECTION();
        return true;
    }
    if (size < CIPHER_RELEASE || self->cipher.busy) {
        job(work);
        return true;
    }
    PyObject *inner = Py_NewRef(self->cipher.inner); /* keeps the SSL and its BIOs */
    set_busy(self);
    Py_BEGIN_ALLOW_THREADS
    job(work);
    Py_END_ALLOW_THREADS
    self->cipher.busy = false;
    bool same = self->cipher.inner == inner;
    Py_DECREF(inner);
    return same;
}

/* A visitor for tp_traverse that finds an exception. */
static int
is_exception(PyObject *obj, void *Py_UNUSED(arg))
{
    return PyExceptionInstance_Check(obj) || PyExceptionClass_Check(obj);
}

/* Return whether a callback of the context has raised. Such a callback (_msg_callback, a key log)
   leaves its exception in the object of _ssl, whose methods raise it at their end. tp_traverse
   finds the exception without knowledge of the layout. */
static bool
has_callback_failed(TlsObject *self)
{
    traverseproc traverse = Py_TYPE(self->cipher.inner)->tp_traverse;
    return traverse != NULL && traverse(self->cipher.inner, is_exception, NULL) != 0;
}

/* Raise the exception of a callback, by a method of _ssl that has nothing else to do. Return 0 if
   nothing was raised, or -1. */
static int
raise_from_callback(TlsObject *self)
{
    PyObject *inner = Py_NewRef(self->cipher.inner);
    PyObject *result = PyObject_CallMethod(inner, "do_handshake", NULL);
    Py_DECREF(inner);
    return drop_result(result);
}

/* An error is not translated here. The method of _ssl is called, finds the connection in the same
   state and raises what it always raises. openssl_write() does the same. */
static int
openssl_read(TlsObject *self, char *buffer, Py_ssize_t size, Py_ssize_t *total)
{
    OpenSSL *lib = library(self);
    Work work = {
        .lib = lib,
        .ssl = self->cipher.handles.ssl,
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
    bool failed = has_callback_failed(self);
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
        .ssl = self->cipher.handles.ssl,
        .data = (char *)data,
        .size = (size_t)size,
    };
    bool same = work_run(self, &work, work_write, work.size);
    *count = (Py_ssize_t)work.done;
    if (!same) {
        return CIPHER_DONE;
    }
    bool failed = has_callback_failed(self);
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
        int count = library(self)->BIO_write(self->cipher.handles.incoming, data, part);
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

/* Make the SSL read from a BIO over `data`, while its own BIO waits. */
static int
openssl_lend(TlsObject *self, const char *data, Py_ssize_t size)
{
    OpenSSL *lib = library(self);
    if (size > INT_MAX || lib->BIO_ctrl_pending(self->cipher.handles.incoming) != 0) {
        return 0;
    }
    void *bio = lib->BIO_new_mem_buf(data, (int)size);
    if (bio == NULL) {
        lib->ERR_clear_error();
        return 0;
    }
    /* The end of this memory is not the end of the connection: a read there has to say "again". */
    if (lib->BIO_ctrl(bio, OPENSSL_SET_BUF_MEM_EOF_RETURN, -1, NULL) <= 0) {
        lib->BIO_free(bio);
        return 0;
    }
    lib->SSL_set0_rbio(self->cipher.handles.ssl, bio); /* drops the reference to the other BIO */
    self->cipher.lent = bio;
    self->cipher.lent_end = data + size;
    return 1;
}

static int
openssl_settle(TlsObject *self)
{
    OpenSSL *lib = library(self);
    void *own = self->cipher.handles.incoming;
    size_t left = lib->BIO_ctrl_pending(self->cipher.lent);
    self->cipher.lent = NULL;
    lib->BIO_up_ref(own);
    lib->SSL_set0_rbio(self->cipher.handles.ssl, own);
    return left ? openssl_feed(self, self->cipher.lent_end - left, (Py_ssize_t)left) : 0;
}

static int
openssl_take(TlsObject *self, PyObject **data)
{
    OpenSSL *lib = library(self);
    size_t size = lib->BIO_ctrl_pending(self->cipher.handles.outgoing);
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
    int count = lib->BIO_read(self->cipher.handles.outgoing, PyBytes_AS_STRING(bytes), (int)size);
    if (count != (int)size) {
        Py_DECREF(bytes);
        PyErr_SetString(PyExc_RuntimeError, "OpenSSL returned fewer bytes than were pending");
        return -1;
    }
    *data = bytes;
    return 0;
}

/* ---- binding --------------------------------------------------------------------------------- */

void
cipher_unbind(TlsObject *self)
{
    cipher_wait(self);
    if (self->cipher.lent != NULL && openssl_settle(self) < 0) {
        PyErr_WriteUnraisable((PyObject *)self);
    }
    self->cipher.kind = CIPHER_UNBOUND;
    self->cipher.exact = false;
    self->cipher.handles = (SslHandles){0};
    Py_CLEAR(self->cipher.inner);
    Py_CLEAR(self->cipher.read);
    Py_CLEAR(self->cipher.write);
    Py_CLEAR(self->cipher.pending);
}

/* Return whether type.name is still the function that it was: 1, 0, or -1 with an exception. */
static int
has_method(PyObject *type, const char *name, PyObject *function)
{
    PyObject *now = PyObject_GetAttrString(type, name);
    Py_XDECREF(now);
    return now == NULL ? -1 : now == function;
}

/* Return whether the three objects are exactly those of ssl, with no method replaced: 1, 0, or -1
   with an exception. */
static int
has_plain_objects(TlsState *tls, TlsObject *self)
{
    if ((PyObject *)Py_TYPE(self->cipher.sslobj) != tls->SSLObject ||
        (PyObject *)Py_TYPE(self->cipher.incoming) != tls->MemoryBIO ||
        (PyObject *)Py_TYPE(self->cipher.outgoing) != tls->MemoryBIO) {
        return 0;
    }
    int rc = has_method(tls->SSLObject, "read", tls->SSLObject_read);
    if (rc > 0) {
        rc = has_method(tls->SSLObject, "write", tls->SSLObject_write);
    }
    if (rc > 0) {
        rc = has_method(tls->SSLObject, "pending", tls->SSLObject_pending);
    }
    if (rc <= 0) {
        return rc;
    }
    PyObject *dict = PyObject_GenericGetDict(self->cipher.sslobj, NULL);
    if (dict == NULL) {
        return -1;
    }
    rc = PyDict_GetItemString(dict, "read") == NULL &&
         PyDict_GetItemString(dict, "write") == NULL &&
         PyDict_GetItemString(dict, "pending") == NULL;
    Py_DECREF(dict);
    return rc;
}

/* Return sslobj._sslobj, on which the SSLObject calls its methods; NULL with an exception, or
   without one if it is not of _ssl's type. */
static PyObject *
get_inner(TlsState *tls, TlsObject *self)
{
    PyObject *inner = PyObject_GetAttrString(self->cipher.sslobj, "_sslobj");
    if (inner != NULL && (PyObject *)Py_TYPE(inner) != tls->SSLSocket) {
        Py_CLEAR(inner);
    }
    return inner;
}

/* Return whether the context has a _msg_callback, which is called for each message of the
   connection: 1, 0, or -1 with an exception. */
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

/* Return whether OpenSSL may be called directly: 1, 0, or -1 with an exception. */
static int
wants_openssl(TlsObject *self, PyObject *inner)
{
    PyObject *wanted = PyObject_GetAttrString((PyObject *)self, "direct");
    int rc = wanted != NULL ? PyObject_IsTrue(wanted) : -1;
    Py_XDECREF(wanted);
    if (rc > 0) {
        /* A message callback sees each call of a method, and stops it by an exception. */
        int has = has_message_callback(inner);
        rc = has < 0 ? -1 : !has;
    }
    return rc;
}

/* Look up the three methods of `obj`. */
static int
bind_methods(TlsObject *self, PyObject *obj)
{
    fastaio_state *st = self->loop->st;
    Py_XSETREF(self->cipher.read, PyObject_GetAttr(obj, st->str_read));
    Py_XSETREF(self->cipher.write, self->cipher.read ? PyObject_GetAttr(obj, st->str_write) : NULL);
    Py_XSETREF(self->cipher.pending,
               self->cipher.write ? PyObject_GetAttr(obj, st->str_pending) : NULL);
    return self->cipher.pending != NULL ? 0 : -1;
}

/* Find out what does the work. */
static int
bind_cipher(TlsObject *self)
{
    if (self->loop == NULL || self->cipher.sslobj == NULL || self->cipher.incoming == NULL ||
        self->cipher.outgoing == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the TLS protocol is not initialised");
        return -1;
    }
    TlsState *tls = self->loop->st->tls;
    int plain = has_plain_objects(tls, self);
    PyObject *inner = plain > 0 ? get_inner(tls, self) : NULL;
    if (plain < 0 || PyErr_Occurred()) {
        return -1;
    }
    int rc = bind_methods(self, inner != NULL ? inner : self->cipher.sslobj);
    int direct = 0;
    self->cipher.exact = inner != NULL;
    Py_XSETREF(self->cipher.inner, inner);
    if (rc == 0 && self->cipher.exact) {
        direct = wants_openssl(self, inner);
        if (direct > 0) {
            direct = openssl_handles(&tls->openssl, self->loop->st, inner,
                                     self->cipher.incoming, self->cipher.outgoing,
                                     &self->cipher.handles);
        }
    }
    if (rc < 0 || direct < 0) {
        cipher_unbind(self);
        return -1;
    }
    self->cipher.kind = direct ? CIPHER_OPENSSL : CIPHER_OBJECTS;
    return 0;
}

/* ---- the seam -------------------------------------------------------------------------------- */

static inline int
ensure_bound(TlsObject *self)
{
    /* Binding runs Python code, and other threads with it. */
    for (;;) {
        cipher_wait(self);
        if (self->cipher.kind != CIPHER_UNBOUND) {
            return 0;
        }
        if (bind_cipher(self) < 0) {
            return -1;
        }
    }
}

int
cipher_read(TlsObject *self, char *buffer, Py_ssize_t size, Py_ssize_t *total)
{
    *total = 0;
    if (ensure_bound(self) < 0) {
        return -1;
    }
    return self->cipher.kind == CIPHER_OPENSSL ? openssl_read(self, buffer, size, total)
                                               : objects_read(self, buffer, size, total);
}

int
cipher_write(TlsObject *self, const char *data, Py_ssize_t size, Py_ssize_t *count)
{
    *count = 0;
    if (ensure_bound(self) < 0) {
        return -1;
    }
    return self->cipher.kind == CIPHER_OPENSSL ? openssl_write(self, data, size, count)
                                               : objects_write(self, data, size, count);
}

int
cipher_feed(TlsObject *self, const char *data, Py_ssize_t size)
{
    if (ensure_bound(self) < 0) {
        return -1;
    }
    return self->cipher.kind == CIPHER_OPENSSL ? openssl_feed(self, data, size)
                                               : objects_feed(self, data, size);
}

int
cipher_lend(TlsObject *self, const char *data, Py_ssize_t size)
{
    cipher_wait(self);
    /* Binding runs Python code, which may pause reading. */
    return self->cipher.kind == CIPHER_OPENSSL ? openssl_lend(self, data, size) : 0;
}

int
cipher_settle(TlsObject *self)
{
    return self->cipher.lent != NULL ? openssl_settle(self) : 0;
}

int
cipher_take(TlsObject *self, PyObject **data)
{
    *data = NULL;
    if (ensure_bound(self) < 0) {
        return -1;
    }
    return self->cipher.kind == CIPHER_OPENSSL ? openssl_take(self, data)
                                               : objects_take(self, data);
}

Py_ssize_t
cipher_incoming(TlsObject *self)
{
    if (ensure_bound(self) < 0) {
        return -1;
    }
    return self->cipher.kind == CIPHER_OPENSSL
               ? (Py_ssize_t)library(self)->BIO_ctrl_pending(openssl_source(self))
               : objects_pending(self, self->cipher.incoming);
}

Py_ssize_t
cipher_outgoing(TlsObject *self)
{
    if (ensure_bound(self) < 0) {
        return -1;
    }
    return self->cipher.kind == CIPHER_OPENSSL
               ? (Py_ssize_t)library(self)->BIO_ctrl_pending(self->cipher.handles.outgoing)
               : objects_pending(self, self->cipher.outgoing);
}
