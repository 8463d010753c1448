/* tls_read.c: from the wire to the application.
 *
 * What arrives is decrypted immediately, as much as there is, and delivered in one piece.
 */
#include "tls/tls_read.h"

#include "tls/tls_cipher.h"
#include "tls/tls_write.h"
#include "transport/sink.h"

/* Input of this size or more is decrypted straight into its own bytes object. */
#define LARGE_READ (32 * 1024)

/* Call self.name(), a method of asyncio's. */
static int
call_self(TlsObject *self, PyObject *name)
{
    return drop_result(PyObject_CallMethodNoArgs((PyObject *)self, name));
}

/* Answer the peer's close_notify. */
static int
handle_end(TlsObject *self)
{
    fastaio_state *st = self->loop->st;
    return call_self(self, st->str__call_eof_received) < 0
               ? -1
               : call_self(self, st->str__start_shutdown);
}

/* ---- a BufferedProtocol ---------------------------------------------------------------------- */

static int
read_again(LoopObject *Py_UNUSED(loop), PyObject *op)
{
    ((TlsObject *)op)->app.read_queued = false;
    return tls_read((TlsObject *)op);
}

/* Return what protocol.get_buffer() returns; NULL with an exception, or without one if there is no
   such method any more. */
static PyObject *
ask_for_buffer(TlsObject *self)
{
    PyObject *hint = PyLong_FromSsize_t(cipher_incoming(self));
    if (hint == NULL || PyErr_Occurred()) {
        Py_XDECREF(hint);
        return NULL;
    }
    PyObject *method = Py_XNewRef(self->app.get_buffer);
    PyObject *buffer = method != NULL ? PyObject_CallOneArg(method, hint) : NULL;
    Py_XDECREF(method);
    Py_DECREF(hint);
    return buffer;
}

/* Get the memory of what get_buffer() has returned. Return 0, or -1 with what asyncio raises: len() comes first,
   then the method of ssl that takes the object as its second argument. */
static int
get_room(PyObject *buffer, Py_buffer *view)
{
    if (PyObject_Size(buffer) < 0) {
        return -1;
    }
    if (PyObject_GetBuffer(buffer, view, PyBUF_WRITABLE) == 0) {
        return 0;
    }
    if (PyErr_ExceptionMatches(PyExc_TypeError) || PyErr_ExceptionMatches(PyExc_BufferError)) {
        PyErr_Clear();
        PyErr_Format(PyExc_TypeError,
                     "read() argument 2 must be read-write bytes-like object, not %.50s",
                     Py_TYPE(buffer)->tp_name);
    }
    return -1;
}

static int
tell_updated(TlsObject *self, Py_ssize_t count)
{
    if (self->app.buffer_updated == NULL) {
        return 0;
    }
    PyObject *number = PyLong_FromSsize_t(count);
    if (number == NULL) {
        return -1;
    }
    PyObject *method = Py_NewRef(self->app.buffer_updated);
    int rc = drop_result(PyObject_CallOneArg(method, number));
    Py_DECREF(method);
    Py_DECREF(number);
    return rc;
}

/* Decrypt into the protocol's buffer. A full buffer ends the read; the next one is queued. */
static int
read_buffered(TlsObject *self)
{
    PyObject *buffer = ask_for_buffer(self);
    Py_buffer view;
    Py_ssize_t count = 0;
    if (buffer == NULL || get_room(buffer, &view) < 0) {
        Py_XDECREF(buffer);
        return PyErr_Occurred() ? -1
                                : 0; /* 0: cipher_incoming() ran code that set another protocol */
    }
    if (!tls_is_open(self)) { /* a __buffer__() has ended the connection */
        PyBuffer_Release(&view);
        Py_DECREF(buffer);
        return 0;
    }
    /* asyncio takes a buffer without room for the end. */
    int rc = view.len > 0 ? cipher_read(self, view.buf, view.len, &count) : CIPHER_EOF;
    PyBuffer_Release(&view);
    Py_DECREF(buffer);
    if (rc == CIPHER_ERROR) {
        return -1;
    }
    if (rc == CIPHER_DONE && !self->app.read_queued) {
        if (loop_call_native(self->loop, read_again, (PyObject *)self) < 0) {
            return -1;
        }
        self->app.read_queued = true;
    }
    if (count > 0 && tell_updated(self, count) < 0) {
        return -1;
    }
    return rc == CIPHER_EOF ? handle_end(self) : 0;
}

/* ---- data_received() ------------------------------------------------------------------------- */

/* Decrypt through the loop's receive buffer. Return CIPHER_*. Store the bytes in *data, which stays
   NULL if there are none. */
static int
decrypt_copying(TlsObject *self, PyObject **data)
{
    char *buffer = loop_hot_buffer(self->loop);
    Py_ssize_t size;
    if (buffer == NULL) {
        return CIPHER_ERROR;
    }
    int rc = cipher_read(self, buffer, HOT_BUFFER_SIZE, &size);
    if (rc != CIPHER_ERROR && size > 0) {
        *data = PyBytes_FromStringAndSize(buffer, size);
        if (*data == NULL) {
            rc = CIPHER_ERROR;
        }
    }
    return rc;
}

/* Do the same straight into a bytes object: `size`, that of the records, is little more than what
   is in them. */
static int
decrypt_straight(TlsObject *self, Py_ssize_t size, PyObject **data)
{
    Py_ssize_t total;
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, size);
    if (bytes == NULL) {
        return CIPHER_ERROR;
    }
    int rc = cipher_read(self, PyBytes_AS_STRING(bytes), size, &total);
    if (rc == CIPHER_ERROR || total == 0) {
        Py_DECREF(bytes);
        return rc;
    }
    if (total < size && _PyBytes_Resize(&bytes, total) < 0) {
        return CIPHER_ERROR;
    }
    *data = bytes;
    return rc;
}

/* Decrypt and deliver until the input is exhausted. */
static int
read_copied(TlsObject *self)
{
    for (;;) {
        PyObject *data = NULL;
        Py_ssize_t waiting = cipher_incoming(self);
        if (waiting < 0) {
            return -1;
        }
        if (waiting > HOT_BUFFER_SIZE) {
            waiting = HOT_BUFFER_SIZE;
        }
        int rc = waiting >= LARGE_READ ? decrypt_straight(self, waiting, &data)
                                       : decrypt_copying(self, &data);
        if (cipher_settle(self) < 0 || rc == CIPHER_ERROR) {
            Py_XDECREF(data);
            return -1;
        }
        if (data != NULL) {
            int delivered =
                sink_deliver(self->loop->st, &self->app.protocol, self->app.reader, data);
            Py_DECREF(data);
            if (delivered < 0) {
                return -1;
            }
        }
        if (rc == CIPHER_EOF) {
            return handle_end(self);
        }
        if (rc == CIPHER_AGAIN || self->app.reading_paused || !tls_is_open(self)) {
            return 0;
        }
        if (self->app.get_buffer != NULL) { /* the callback has set a BufferedProtocol */
            return read_buffered(self);
        }
    }
}

/* ---- a read ---------------------------------------------------------------------------------- */

/* Send what the read has made OpenSSL answer. Output that waited for input may be encrypted now. */
static int
send_answers(TlsObject *self)
{
    if (!tls_is_open(self)) {
        return 0;
    }
    return self->pieces.count ? tls_encrypt(self) : tls_send(self);
}

int
tls_read(TlsObject *self)
{
    if (!tls_is_open(self)) {
        return 0;
    }
    int rc = 0;
    Py_INCREF(self);
    if (!self->app.reading_paused) {
        rc = self->app.get_buffer != NULL ? read_buffered(self) : read_copied(self);
        if (rc == 0) {
            rc = send_answers(self);
        }
    }
    if (rc == 0) {
        rc = tls_control_reading(self);
    }
    if (rc < 0) {
        rc = tls_fail(self);
    }
    Py_DECREF(self);
    return rc;
}

/* Use new input in the way of the connection's mode. */
static int
process_input(TlsObject *self)
{
    fastaio_state *st = self->loop->st;
    switch (self->mode) {
    case TLS_WRAPPED:
        return tls_read(self);
    case TLS_HANDSHAKE:
        return call_self(self, st->str__do_handshake);
    case TLS_FLUSHING:
        return call_self(self, st->str__do_flush);
    case TLS_SHUTDOWN:
        return call_self(self, st->str__do_shutdown);
    default:
        return 0;
    }
}

int
tls_feed(PyObject *op, const char *data, Py_ssize_t size)
{
    TlsObject *self = (TlsObject *)op;
    Py_INCREF(self);
    /* Only input that is decrypted before any Python code runs can be lent. */
    bool may_lend = size >= LARGE_READ && self->mode == TLS_WRAPPED && !self->app.reading_paused &&
                    self->app.get_buffer == NULL;
    int rc = may_lend ? cipher_lend(self, data, size) : 0;
    if (rc == 0) {
        rc = cipher_feed(self, data, size);
    }
    if (rc >= 0) {
        rc = process_input(self);
    }
    Py_DECREF(self);
    return rc;
}

/* ---- flow control ---------------------------------------------------------------------------- */

static int
read_resumed(LoopObject *Py_UNUSED(loop), PyObject *op)
{
    TlsObject *self = (TlsObject *)op;
    self->app.resume_queued = false;
    return self->mode == TLS_HANDSHAKE ? 0 : process_input(self);
}

int
tls_resume_reading(TlsObject *self)
{
    if (!self->app.reading_paused) {
        return 0;
    }
    tls_set_reading_paused(self, false);
    if (self->app.resume_queued) {
        return 0;
    }
    if (loop_call_native(self->loop, read_resumed, (PyObject *)self) < 0) {
        return -1;
    }
    self->app.resume_queued = true;
    return 0;
}

int
tls_control_reading(TlsObject *self)
{
    Py_ssize_t size = cipher_incoming(self);
    PyObject *method = NULL;
    if (size < 0) {
        return -1;
    }
    if (self->wire.transport == NULL) {
        return 0;
    }
    if (size >= self->incoming_high && !self->wire.reading_paused) {
        self->wire.reading_paused = true;
        method = self->loop->st->str_pause_reading;
    }
    else if (size <= self->incoming_low && self->wire.reading_paused) {
        self->wire.reading_paused = false;
        method = self->loop->st->str_resume_reading;
    }
    if (method == NULL) {
        return 0;
    }
    PyObject *transport = Py_NewRef(self->wire.transport);
    int rc = drop_result(PyObject_CallMethodNoArgs(transport, method));
    Py_DECREF(transport);
    return rc;
}

/* ---- the protocol ---------------------------------------------------------------------------- */

/* Keep get_buffer() and buffer_updated() of a BufferedProtocol, bound once, as in asyncio. For
   another protocol both become NULL. */
static int
take_buffer_methods(TlsObject *self, PyObject *protocol)
{
    fastaio_state *st = self->loop->st;
    PyObject *get_buffer = NULL, *updated = NULL;
    int rc = protocol == Py_None
                 ? 0
                 : PyObject_GetOptionalAttr(protocol, st->str_get_buffer, &get_buffer);
    if (rc > 0) {
        rc = PyObject_IsInstance(protocol, st->asyncio_BufferedProtocol);
    }
    if (rc > 0) {
        updated = PyObject_GetAttr(protocol, st->str_buffer_updated);
        rc = updated != NULL ? 0 : -1;
    }
    PyObject *old_get = self->app.get_buffer, *old_updated = self->app.buffer_updated;
    self->app.get_buffer = updated != NULL ? Py_NewRef(get_buffer) : NULL;
    self->app.buffer_updated = updated;
    Py_XDECREF(old_get);
    Py_XDECREF(old_updated);
    Py_XDECREF(get_buffer);
    return rc;
}

int
tls_use_protocol(TlsObject *self, PyObject *protocol)
{
    int streams = PyObject_IsInstance(protocol, self->loop->st->asyncio_FlowControlMixin);
    if (streams < 0) {
        return -1;
    }
    self->app.streams = streams;
    PyObject *old = section_swap((PyObject *)self, &self->app.protocol,
                                 protocol != Py_None ? Py_NewRef(protocol) : NULL);
    streamreader_unlink(&self->app.reader);
    int rc = take_buffer_methods(self, protocol);
    if (rc == 0 && self->app.protocol == protocol) {
        rc = streamreader_adopt(self->loop, protocol, &self->app.reader);
    }
    Py_XDECREF(old); /* last: its finalizer may set yet another protocol */
    return rc;
}
