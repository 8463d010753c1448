/* tls.c: the data path of TLS, from the raw transport to the application and back.
 *
 * In: what arrives is decrypted at once, as much as there is, and handed over
 * in one piece.  Out: what is written is encrypted at once, as on asyncio, and
 * the raw transport gathers the records of a turn into one system call. (To
 * encrypt all that a turn has written as one record was tried. It spares an
 * SSL_write() per write, but a callback that blocks its thread would hold plain
 * text back, and no other thread may encrypt it meanwhile: the user has the SSL
 * object, too, and its callbacks take the GIL.)
 */
#include "tls/tls_impl.h"

#include "net/stream.h"
#include "transport/sink.h"

/* From so many bytes on they are decrypted straight into a bytes object. */
#define LARGE_READ  (32 * 1024)
/* Small writes that had to wait are gathered up to what a record holds. */
#define RECORD      (16 * 1024)
/* What is encrypted at a time: so many whole records. */
#define SLICE       (16 * RECORD)
/* asyncio.constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES */
#define LOST_WRITES_UNTIL_WARNING 5

/* ---- helpers --------------------------------------------------------------------------------- */

/* self.name(), which is Python. */
static int
call(TlsObject *self, PyObject *name)
{
    return drop_result(PyObject_CallMethodNoArgs((PyObject *)self, name));
}

/* As asyncio does with what the data path raises: all but KeyboardInterrupt and its like ends the
   connection. */
static int
fatal(TlsObject *self)
{
    if (!PyErr_ExceptionMatches(PyExc_Exception)) {
        return -1;
    }
    PyObject *exc = PyErr_GetRaisedException();
    int rc = drop_result(PyObject_CallMethod((PyObject *)self, "_fatal_error", "Os", exc,
                                             "Fatal error on SSL protocol"));
    Py_DECREF(exc);
    return rc;
}

/* A method of the application's protocol without arguments; its failure is reported. */
static int
tell_protocol(TlsObject *self, PyObject *name, const char *failure)
{
    if (self->app_protocol == NULL) {
        return 0;
    }
    PyObject *protocol = Py_NewRef(self->app_protocol); /* it may set another one */
    int rc = drop_result(PyObject_CallMethodNoArgs(protocol, name));
    Py_DECREF(protocol);
    return rc == 0 ? 0
                   : loop_report(self->loop, failure, "transport", self->app_transport, "protocol",
                                 (PyObject *)self, NULL);
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

/* A reference to bytes; a copy of what can still change. */
static PyObject *
piece_of(PyObject *data)
{
    if (PyBytes_CheckExact(data)) {
        return Py_NewRef(data);
    }
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_FULL_RO) < 0) {
        return NULL;
    }
    PyObject *piece = PyBytes_FromStringAndSize(NULL, view.len);
    if (piece != NULL &&
        PyBuffer_ToContiguous(PyBytes_AS_STRING(piece), &view, view.len, 'C') < 0) {
        Py_CLEAR(piece);
    }
    PyBuffer_Release(&view);
    return piece;
}

int
tls_queue(TlsObject *self, PyObject *data)
{
    PyObject *piece = piece_of(data);
    if (piece == NULL) {
        return -1;
    }
    if (PyBytes_GET_SIZE(piece) == 0) {
        Py_DECREF(piece);
        return 0;
    }
    if (output_is_inherited(self)) {
        tls_drop_output(self);
    }
    return pieces_push(&self->pieces, piece, self->loop->st->fork_count);
}

/* ---- out ------------------------------------------------------------------------------------- */

/* Encrypt some of the first piece, or several small ones; CIPHER_*. */
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

/* Hand what is encrypted to the raw transport. */
static int
pass_on(TlsObject *self)
{
    PyObject *data;
    Py_ssize_t size;
    do {
        if (self->transport == NULL) {
            return 0;
        }
        if (cipher_take(self, &data) < 0) {
            return -1;
        }
        if (data == NULL) {
            return 0;
        }
        size = PyObject_Size(data);
        PyObject *transport = Py_XNewRef(self->transport);
        int rc = size < 0            ? -1
                 : transport == NULL ? 0
                                     : stream_call_write(self->loop->st, transport, data);
        Py_XDECREF(transport);
        Py_DECREF(data);
        if (rc < 0) {
            return -1;
        }
    } while (size == CIPHER_TAKE);
    return 0;
}

/* A large output goes slice by slice: other threads run while OpenSSL works on one, and little is in
   memory twice. The raw transport gets all of an output or none, as on asyncio: that it pauses
   writing counts from the next output on. */
int
tls_encrypt(TlsObject *self)
{
    int rc = CIPHER_DONE;
    bool passes = !self->wire_writing_paused;
    Py_ssize_t kept = 0; /* encrypted since the last pass_on() */
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
        kept += count;
        if (rc == CIPHER_DONE && passes && kept >= SLICE) {
            rc = pass_on(self) < 0 ? CIPHER_ERROR : CIPHER_DONE;
            kept = 0;
        }
    }
    if (rc != CIPHER_ERROR && passes) {
        rc = pass_on(self);
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
    if (!self->wire_writing_paused && pass_on(self) < 0) {
        return -1;
    }
    return tls_control_writing(self);
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
    if (PyErr_ExceptionMatches(PyExc_Exception)) {
        PyObject *exc = PyErr_GetRaisedException();
        tls_drop_output(self);
        PyErr_SetRaisedException(exc);
    }
    return fatal(self);
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
    PyObject *left = PyErr_GetRaisedException();
    tls_drop_output(self);
    if (left != NULL) {
        PyErr_SetRaisedException(left);
    }
    return rc;
}

/* After something was queued. The end of the handshake takes along what was written before it. */
static int
encrypt_if_open(TlsObject *self)
{
    return self->mode == TLS_WRAPPED ? tls_flush(self) : 0;
}

/* Written to what closes or is closed: 1 if so. */
static int
is_refused(TlsObject *self)
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

int
tls_write(TlsObject *self, PyObject *data)
{
    int refused = is_refused(self);
    if (refused) {
        return refused < 0 ? -1 : 0;
    }
    return tls_queue(self, data) < 0 ? -1 : encrypt_if_open(self);
}

int
tls_write_all(TlsObject *self, PyObject *iterable)
{
    int refused = is_refused(self);
    if (refused) {
        return refused < 0 ? -1 : 0;
    }
    PyObject *list = PySequence_List(iterable);
    if (list == NULL) {
        return -1;
    }
    int rc = 0;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list) && rc == 0; i++) {
        rc = tls_queue(self, PyList_GET_ITEM(list, i));
    }
    Py_DECREF(list);
    if (rc < 0) { /* no buffer: asyncio, too, finds out when it encrypts */
        return fatal(self);
    }
    return encrypt_if_open(self);
}

int
tls_control_writing(TlsObject *self)
{
    Py_ssize_t size = cipher_outgoing(self);
    if (size < 0) {
        return -1;
    }
    size += self->pieces.size;
    if (size >= self->outgoing_high && !self->app_writing_paused) {
        self->app_writing_paused = 1;
        return tell_protocol(self, self->loop->st->str_pause_writing,
                             "protocol.pause_writing() failed");
    }
    if (size <= self->outgoing_low && self->app_writing_paused) {
        self->app_writing_paused = 0;
        return tell_protocol(self, self->loop->st->str_resume_writing,
                             "protocol.resume_writing() failed");
    }
    return 0;
}

/* ---- in -------------------------------------------------------------------------------------- */

/* By way of the loop's hot buffer: a bytes object of exactly the right size. */
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

/* For much at a time: straight into a bytes object, of which little stays unused. */
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

/* The peer's close_notify. */
static int
received_end(TlsObject *self)
{
    fastaio_state *st = self->loop->st;
    return call(self, st->str__call_eof_received) < 0 ? -1 : call(self, st->str__start_shutdown);
}

static int
read_again(LoopObject *Py_UNUSED(loop), PyObject *op)
{
    ((TlsObject *)op)->reading_again = false;
    return tls_read((TlsObject *)op);
}

static PyObject *
ask_for_buffer(TlsObject *self)
{
    PyObject *hint = PyLong_FromSsize_t(cipher_incoming(self));
    if (hint == NULL || PyErr_Occurred()) {
        Py_XDECREF(hint);
        return NULL;
    }
    PyObject *method = Py_XNewRef(self->get_buffer);
    PyObject *buffer = method != NULL ? PyObject_CallOneArg(method, hint) : NULL;
    Py_XDECREF(method);
    Py_DECREF(hint);
    return buffer;
}

static int
tell_updated(TlsObject *self, Py_ssize_t count)
{
    if (self->buffer_updated == NULL) {
        return 0;
    }
    PyObject *number = PyLong_FromSsize_t(count);
    if (number == NULL) {
        return -1;
    }
    PyObject *method = Py_NewRef(self->buffer_updated);
    int rc = drop_result(PyObject_CallOneArg(method, number));
    Py_DECREF(method);
    Py_DECREF(number);
    return rc;
}

/* A BufferedProtocol: straight into its buffer, once per turn. */
static int
read_buffered(TlsObject *self)
{
    PyObject *buffer = ask_for_buffer(self);
    Py_buffer view;
    Py_ssize_t count = 0;
    if (buffer == NULL || PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE) < 0) {
        Py_XDECREF(buffer);
        return PyErr_Occurred() ? -1 : 0; /* 0: asking has set another protocol */
    }
    if (!tls_is_open(self)) { /* a __buffer__() has ended it */
        PyBuffer_Release(&view);
        Py_DECREF(buffer);
        return 0;
    }
    /* asyncio takes a buffer without room for the end */
    int rc = view.len > 0 ? cipher_read(self, view.buf, view.len, &count) : CIPHER_EOF;
    PyBuffer_Release(&view);
    Py_DECREF(buffer);
    if (rc == CIPHER_ERROR) {
        return -1;
    }
    if (rc == CIPHER_DONE && !self->reading_again) {
        if (loop_call_native(self->loop, read_again, (PyObject *)self) < 0) {
            return -1;
        }
        self->reading_again = true;
    }
    if (count > 0 && tell_updated(self, count) < 0) {
        return -1;
    }
    return rc == CIPHER_EOF ? received_end(self) : 0;
}

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
            int delivered = sink_deliver(self->loop->st, &self->app_protocol, self->reader, data);
            Py_DECREF(data);
            if (delivered < 0) {
                return -1;
            }
        }
        if (rc == CIPHER_EOF) {
            return received_end(self);
        }
        if (rc == CIPHER_AGAIN || self->app_reading_paused || !tls_is_open(self)) {
            return 0;
        }
        if (self->get_buffer != NULL) { /* the callback has set another protocol */
            return read_buffered(self);
        }
    }
}

/* Reading may have made answers of its own, and what could not be written may go now. */
static int
after_reading(TlsObject *self)
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
    if (!self->app_reading_paused) {
        rc = self->get_buffer != NULL ? read_buffered(self) : read_copied(self);
        if (rc == 0) {
            rc = after_reading(self);
        }
    }
    if (rc == 0) {
        rc = tls_control_reading(self);
    }
    if (rc < 0) {
        rc = fatal(self);
    }
    Py_DECREF(self);
    return rc;
}

static int
advance(TlsObject *self)
{
    fastaio_state *st = self->loop->st;
    switch (self->mode) {
    case TLS_WRAPPED:
        return tls_read(self);
    case TLS_HANDSHAKE:
        return call(self, st->str__do_handshake);
    case TLS_FLUSHING:
        return call(self, st->str__do_flush);
    case TLS_SHUTDOWN:
        return call(self, st->str__do_shutdown);
    default:
        return 0;
    }
}

int
tls_feed(PyObject *op, const char *data, Py_ssize_t size)
{
    TlsObject *self = (TlsObject *)op;
    Py_INCREF(self);
    /* Of much, what is decrypted at once is not copied before. */
    bool at_once = size >= LARGE_READ && self->mode == TLS_WRAPPED && !self->app_reading_paused &&
                   self->get_buffer == NULL;
    int rc = at_once ? cipher_lend(self, data, size) : 0;
    if (rc == 0) {
        rc = cipher_feed(self, data, size);
    }
    if (rc >= 0) {
        rc = advance(self);
    }
    Py_DECREF(self);
    return rc;
}

static int
resume(LoopObject *Py_UNUSED(loop), PyObject *op)
{
    TlsObject *self = (TlsObject *)op;
    self->resuming = false;
    return self->mode == TLS_HANDSHAKE ? 0 : advance(self);
}

int
tls_resume_reading(TlsObject *self)
{
    if (!self->app_reading_paused) {
        return 0;
    }
    self->app_reading_paused = 0;
    if (self->resuming) {
        return 0;
    }
    if (loop_call_native(self->loop, resume, (PyObject *)self) < 0) {
        return -1;
    }
    self->resuming = true;
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
    if (self->transport == NULL) {
        return 0;
    }
    if (size >= self->incoming_high && !self->wire_reading_paused) {
        self->wire_reading_paused = 1;
        method = self->loop->st->str_pause_reading;
    }
    else if (size <= self->incoming_low && self->wire_reading_paused) {
        self->wire_reading_paused = 0;
        method = self->loop->st->str_resume_reading;
    }
    if (method == NULL) {
        return 0;
    }
    PyObject *transport = Py_NewRef(self->transport);
    int rc = drop_result(PyObject_CallMethodNoArgs(transport, method));
    Py_DECREF(transport);
    return rc;
}

/* ---- both ends ------------------------------------------------------------------------------- */

/* Takes the two methods of a BufferedProtocol, as asyncio does, when it is set. */
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
    PyObject *old_get = self->get_buffer, *old_updated = self->buffer_updated;
    self->get_buffer = updated != NULL ? Py_NewRef(get_buffer) : NULL;
    self->buffer_updated = updated;
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
    self->streams = streams;
    /* What is dropped may set yet another protocol: it goes last. */
    PyObject *old = self->app_protocol;
    streamreader_unlink(&self->reader);
    self->app_protocol = protocol != Py_None ? Py_NewRef(protocol) : NULL;
    int rc = take_buffer_methods(self, protocol);
    if (rc == 0 && self->app_protocol == protocol) {
        rc = streamreader_adopt(self->loop, protocol, &self->reader);
    }
    Py_XDECREF(old);
    return rc;
}

PyObject *
tls_extra_info(TlsObject *self, PyObject *name, PyObject *fallback)
{
    if (self->extra != NULL) {
        PyObject *extra = Py_NewRef(self->extra); /* the name's __eq__ may set another one */
        PyObject *value = PyObject_GetItem(extra, name);
        Py_DECREF(extra);
        if (value != NULL || !PyErr_ExceptionMatches(PyExc_KeyError)) {
            return value;
        }
        PyErr_Clear();
    }
    if (self->transport == NULL) {
        return Py_NewRef(fallback);
    }
    /* Whoever asks for the socket may write to it: what was written here comes first. */
    if (self->pieces.count && PyUnicode_Check(name) &&
        PyUnicode_CompareWithASCIIString(name, "socket") == 0 && tls_flush(self) < 0) {
        return NULL;
    }
    if (self->transport == NULL) {
        return Py_NewRef(fallback);
    }
    PyObject *args[] = {Py_NewRef(self->transport), name, fallback};
    PyObject *value = PyObject_VectorcallMethod(self->loop->st->str_get_extra_info, args, 3, NULL);
    Py_DECREF(args[0]);
    return value;
}

int
tls_takes_feed(LoopObject *loop, PyObject *protocol)
{
    TlsState *tls = loop->st->tls;
    if (!PyObject_TypeCheck(protocol, tls->ProtocolType) || ((TlsObject *)protocol)->loop != loop) {
        return 0;
    }
    PyObject *method =
        PyObject_GetAttr((PyObject *)Py_TYPE(protocol), loop->st->str_buffer_updated);
    Py_XDECREF(method);
    return method == NULL ? -1 : method == tls->feed_method;
}
