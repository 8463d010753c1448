/* tls_cipher.c: the seam between the data path and what encrypts.
 *
 * Either the SSLObject's methods are called, whatever it is, or, where it is
 * exactly Python's and the layout is proved, OpenSSL behind it.  Both work on
 * the same objects, so that handshake, shutdown and every question of the user
 * go through Python's ssl in either case.
 */
#include "tls_impl.h"

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
        result = PyObject_Vectorcall(self->read, args, 2, NULL);
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
    PyObject *result = number != NULL ? PyObject_CallOneArg(self->read, number) : NULL;
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
objects_read(TlsObject *self, char *buffer, Py_ssize_t size, Py_ssize_t *count)
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
    PyObject *result = PyObject_CallOneArg(self->write, bytes);
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

/* An error is left in OpenSSL's queue: the method of _ssl, called again, finds the connection in
   that state and raises the exception that it always raises. */
static int
openssl_read(TlsObject *self, char *buffer, Py_ssize_t size, Py_ssize_t *count)
{
    OpenSSL *lib = library(self);
    void *ssl = self->handles.ssl;
    size_t got = 0;
    forget_errors(lib);
    int result = lib->SSL_read_ex(ssl, buffer, (size_t)size, &got);
    if (result > 0) {
        *count = (Py_ssize_t)got;
        return CIPHER_DONE;
    }
    int error = lib->SSL_get_error(ssl, result);
    if (error == OPENSSL_ERROR_WANT_READ) {
        return CIPHER_AGAIN;
    }
    if (error == OPENSSL_ERROR_ZERO_RETURN &&
        lib->SSL_get_shutdown(ssl) == OPENSSL_RECEIVED_SHUTDOWN) {
        return CIPHER_EOF;
    }
    return objects_read(self, buffer, size, count);
}

static int
openssl_write(TlsObject *self, const char *data, Py_ssize_t size, Py_ssize_t *count)
{
    OpenSSL *lib = library(self);
    size_t put = 0;
    forget_errors(lib);
    int result = lib->SSL_write_ex(self->handles.ssl, data, (size_t)size, &put);
    if (result > 0) {
        *count = (Py_ssize_t)put;
        return CIPHER_DONE;
    }
    if (lib->SSL_get_error(self->handles.ssl, result) == OPENSSL_ERROR_WANT_READ) {
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
    if (size > INT_MAX) { /* the rest comes with the next one */
        size = INT_MAX;
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
    if (self->lent != NULL && openssl_settle(self) < 0) {
        PyErr_WriteUnraisable((PyObject *)self);
    }
    self->cipher = CIPHER_UNBOUND;
    self->exact = false;
    self->handles = (SslHandles){0};
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

static int
wants_openssl(TlsObject *self)
{
    PyObject *wanted = PyObject_GetAttrString((PyObject *)self, "direct");
    int rc = wanted != NULL ? PyObject_IsTrue(wanted) : -1;
    Py_XDECREF(wanted);
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
    if (rc == 0 && self->exact) {
        direct = wants_openssl(self);
        if (direct > 0) {
            direct = openssl_handles(&tls->openssl, inner, self->incoming, self->outgoing,
                                     &self->handles);
        }
    }
    Py_XDECREF(inner);
    if (rc < 0 || direct < 0) {
        cipher_unbind(self);
        return -1;
    }
    self->cipher = direct ? CIPHER_OPENSSL : CIPHER_OBJECTS;
    return 0;
}

/* ---- the seam -------------------------------------------------------------------------------- */

#define BIND(self)                                                   \
    if ((self)->cipher == CIPHER_UNBOUND && bind_cipher(self) < 0) { \
        return -1;                                                   \
    }

int
cipher_read(TlsObject *self, char *buffer, Py_ssize_t size, Py_ssize_t *count)
{
    *count = 0;
    BIND(self)
    return self->cipher == CIPHER_OPENSSL ? openssl_read(self, buffer, size, count)
                                          : objects_read(self, buffer, size, count);
}

int
cipher_has_more(TlsObject *self)
{
    BIND(self)
    if (self->cipher == CIPHER_OBJECTS) {
        return objects_has_more(self);
    }
    OpenSSL *lib = library(self);
    return lib->BIO_ctrl_pending(openssl_source(self)) > 0 ||
           lib->SSL_pending(self->handles.ssl) > 0;
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
