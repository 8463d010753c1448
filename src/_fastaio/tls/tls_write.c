/* tls_write.c: from the application to the wire.
 *
 * What is written is encrypted immediately, as on asyncio, and the transport below gathers the
 * records of a turn into one system call. (To encrypt all that a turn has written as one record
 * was tried. That spares an SSL_write() per write, but a callback that blocks its thread would
 * hold plain text back. No other thread may encrypt it meanwhile: the program has the SSL object,
 * too, and its callbacks take the GIL.)
 */
#include "tls/tls_write.h"

#include "base/error.h"
#include "net/stream.h"
#include "tls/tls_cipher.h"

/* Small writes that had to wait are gathered up to what a record holds. */
#define RECORD (16 * 1024)
/* Output is encrypted in slices of this many whole records. */
#define SLICE (16 * RECORD)
/* How deep write() of the wire may lead back to this connection. Python's own limit would come
   after hundreds of levels, each of which then aborts the connection, by a recursion of its own:
   minutes. */
#define WIRE_DEPTH 32
/* asyncio.constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES */
#define LOST_WRITES_UNTIL_WARNING 5

/* ---- failure and flow control ---------------------------------------------------------------- */

int
tls_fail(TlsObject *self)
{
    if (!PyErr_ExceptionMatches(PyExc_Exception)) {
        return -1;
    }
    PyObject *exc = PyErr_GetRaisedException();
    PyObject *outer = begin_handling(exc);
    int rc = drop_result(PyObject_CallMethod((PyObject *)self, "_fatal_error", "Os", exc,
                                             "Fatal error on SSL protocol"));
    end_handling(outer);
    Py_DECREF(exc);
    return rc;
}

/* Call a method of the application's protocol. An exception of the method is reported as
   `failure`. */
static int
call_protocol(TlsObject *self, PyObject *name, const char *failure)
{
    if (self->app.protocol == NULL) {
        return 0;
    }
    PyObject *protocol = Py_NewRef(self->app.protocol); /* the method may set another one */
    int rc = drop_result(PyObject_CallMethodNoArgs(protocol, name));
    Py_DECREF(protocol);
    return rc == 0 ? 0
                   : loop_report(self->loop, failure, "transport", self->app.transport, "protocol",
                                 (PyObject *)self, NULL);
}

int
tls_control_writing(TlsObject *self)
{
    Py_ssize_t size = cipher_outgoing(self);
    if (size < 0) {
        return -1;
    }
#ifdef Py_GIL_DISABLED
    relaxed_store(&self->outgoing_size, size);
#endif
    size += self->pieces.size;
    if (size >= self->outgoing_high && !self->app.writing_paused) {
        self->app.writing_paused = true;
        return call_protocol(self, self->loop->st->str_pause_writing,
                             "protocol.pause_writing() failed");
    }
    if (size <= self->outgoing_low && self->app.writing_paused) {
        self->app.writing_paused = false;
        return call_protocol(self, self->loop->st->str_resume_writing,
                             "protocol.resume_writing() failed");
    }
    return 0;
}

/* ---- the queue ------------------------------------------------------------------------------- */

void
tls_drop_output(TlsObject *self)
{
    pieces_drop(&self->pieces);
}

static inline bool
output_is_inherited(const TlsObject *self)
{
    return pieces_is_inherited(&self->pieces, self->loop->st->fork_count);
}

/* Return the data as bytes: a new reference, or a copy of what could still change. BufferError for
   a view with gaps, as in ssl. */
static PyObject *
make_piece(PyObject *data)
{
    if (PyBytes_CheckExact(data)) {
        return Py_NewRef(data);
    }
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    PyObject *piece = PyBytes_FromStringAndSize(view.buf, view.len);
    PyBuffer_Release(&view);
    return piece;
}

int
tls_queue(TlsObject *self, PyObject *data)
{
    PyObject *piece = make_piece(data);
    if (piece == NULL) {
        return -1;
    }
    if (PyBytes_GET_SIZE(piece) == 0) {
        Py_DECREF(piece);
        return 0;
    }
    pieces_drop_inherited(&self->pieces, self->loop->st->fork_count);
    return pieces_push(&self->pieces, piece, self->loop->st->fork_count);
}

/* ---- encrypting and sending ------------------------------------------------------------------ */

/* Encrypt some of the first piece, or several small ones. Return CIPHER_*. */
static int
encrypt_some(TlsObject *self, Py_ssize_t *count)
{
    char record[RECORD];
    PyObject *first = Py_NewRef(pieces_at(&self->pieces, 0)); /* callbacks of ssl may drop it */
    const char *data = PyBytes_AS_STRING(first) + self->pieces.offset;
    Py_ssize_t size = PyBytes_GET_SIZE(first) - self->pieces.offset;
    if (size < RECORD && self->pieces.count > 1) {
        size = (Py_ssize_t)pieces_copy(&self->pieces, record, RECORD);
        data = record;
    }
    else if (size > SLICE) {
        size = SLICE;
    }
    self->encrypting = true;
    int rc = cipher_write(self, data, size, count);
    self->encrypting = false;
    if (rc == CIPHER_DONE && *count <= self->pieces.size) {
        pieces_advance(&self->pieces, (size_t)*count);
    }
    Py_DECREF(first);
    return rc;
}

/* Call write(data) of the wire. */
static int
write_to_wire(TlsObject *self, PyObject *data)
{
    if (self->wire.depth >= WIRE_DEPTH) {
        PyErr_SetString(PyExc_RecursionError,
                        "maximum recursion depth exceeded: a TLS connection writes to itself");
        return -1;
    }
    PyObject *transport = Py_NewRef(self->wire.transport);
    self->wire.depth++;
    int rc = stream_call_write(self->loop->st, transport, data);
    self->wire.depth--;
    Py_DECREF(transport);
    return rc;
}

/* Hand all records to the wire. */
static int
send_records(TlsObject *self)
{
    PyObject *data;
    Py_ssize_t size;
    do {
        if (self->wire.transport == NULL) {
            return 0;
        }
        if (cipher_take(self, &data) < 0) {
            return -1;
        }
        if (data == NULL) {
            return 0;
        }
        size = PyObject_Size(data);
        int rc = size < 0 ? -1 : self->wire.transport == NULL ? 0 : write_to_wire(self, data);
        Py_DECREF(data);
        if (rc < 0) {
            return -1;
        }
    } while (size == CIPHER_TAKE);
    return 0;
}

/* Large output goes slice by slice: other threads run while OpenSSL works on a slice, and little is
   in memory twice. The wire gets all of an output or nothing, as on asyncio: if it pauses writing,
   that counts from the next output on. */
int
tls_encrypt(TlsObject *self)
{
    int rc = CIPHER_DONE;
    bool sends = !self->wire.writing_paused;
    Py_ssize_t unsent = 0; /* encrypted since the last send_records() */
    Py_INCREF(self);
    while (rc == CIPHER_DONE) {
        cipher_wait(self);
        if (self->encrypting) { /* called by a callback of ssl: the caller goes on with the rest */
            Py_DECREF(self);
            return 0;
        }
        if (self->pieces.count == 0) {
            break;
        }
        Py_ssize_t count;
        rc = encrypt_some(self, &count);
        unsent += count;
        if (rc == CIPHER_DONE && sends && unsent >= SLICE) {
            rc = send_records(self) < 0 ? CIPHER_ERROR : CIPHER_DONE;
            unsent = 0;
        }
    }
    if (rc != CIPHER_ERROR && sends) {
        rc = send_records(self);
    }
    if (rc != CIPHER_ERROR) {
        rc = tls_control_writing(self);
    }
    Py_DECREF(self);
    return rc == CIPHER_ERROR ? -1 : 0;
}

int
tls_send(TlsObject *self)
{
    if (!self->wire.writing_paused && send_records(self) < 0) {
        return -1;
    }
    return tls_control_writing(self);
}

/* Drop the queue and end the connection because of the raised exception. */
static int
fail_write(TlsObject *self)
{
    if (PyErr_ExceptionMatches(PyExc_Exception)) {
        PyObject *exc = PyErr_GetRaisedException();
        tls_drop_output(self);
        PyErr_SetRaisedException(exc);
    }
    return tls_fail(self);
}

int
tls_flush(TlsObject *self)
{
    if (self->pieces.count == 0 || !tls_is_open(self)) {
        return 0;
    }
    if (output_is_inherited(self)) {
        tls_drop_output(self);
        return 0;
    }
    if (tls_encrypt(self) == 0) {
        return 0;
    }
    return fail_write(self);
}

int
tls_flush_last(TlsObject *self)
{
    if (self->pieces.count == 0 || !tls_is_open(self)) {
        return 0;
    }
    int rc = output_is_inherited(self) ? 0 : tls_encrypt(self);
    if (rc < 0 && PyErr_ExceptionMatches(PyExc_Exception)) {
        PyErr_Clear();
        rc = 0;
    }
    PyObject *raised = PyErr_GetRaisedException();
    tls_drop_output(self);
    if (raised != NULL) {
        PyErr_SetRaisedException(raised);
    }
    return rc;
}

/* ---- write() and writelines() ---------------------------------------------------------------- */

/* Return 1 if the connection closes or is closed: the write is counted, and from some number on a
   warning logged. Return 0 if it takes output, -1 with an exception. */
static int
refuse_write(TlsObject *self)
{
    if (self->mode == TLS_WRAPPED || self->mode == TLS_HANDSHAKE) {
        return 0;
    }
    if (self->conn_lost >= LOST_WRITES_UNTIL_WARNING &&
        drop_result(PyObject_CallMethod(self->loop->st->logger, "warning", "s",
                                        "SSL connection is closed")) < 0) {
        return -1;
    }
    self->conn_lost++;
    return 1;
}

/* Flush after something was queued. During the handshake the queue waits for its end. */
static int
flush_if_wrapped(TlsObject *self)
{
    return self->mode == TLS_WRAPPED ? tls_flush(self) : 0;
}

int
tls_write(TlsObject *self, PyObject *data)
{
    int refused = refuse_write(self);
    if (refused) {
        return refused < 0 ? -1 : 0;
    }
    return tls_queue(self, data) < 0 ? fail_write(self) : flush_if_wrapped(self);
}

int
tls_write_all(TlsObject *self, PyObject *iterable)
{
    int refused = refuse_write(self);
    if (refused) {
        return refused < 0 ? -1 : 0;
    }
    PyObject *list = PySequence_List(iterable);
    if (list == NULL) {
        return -1;
    }
    /* asyncio raises what len() raises. All items are asked before one is queued: nothing is half written. */
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); i++) {
        if (PyObject_Size(PyList_GET_ITEM(list, i)) < 0) {
            Py_DECREF(list);
            return -1;
        }
    }
    refused = refuse_write(self); /* a __len__() may have closed the connection */
    if (refused) {
        Py_DECREF(list);
        return refused < 0 ? -1 : 0;
    }
    int rc = 0;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list) && rc == 0; i++) {
        rc = tls_queue(self, PyList_GET_ITEM(list, i));
    }
    Py_DECREF(list);
    return rc < 0 ? fail_write(self) : flush_if_wrapped(self);
}
