/* tls_cipher.h: encryption and decryption of a connection, whoever does the work.
 *
 * Where nothing else is said, a function returns 0, or -1 with an exception.
 */
#ifndef FASTAIO_TLS_CIPHER_H
#define FASTAIO_TLS_CIPHER_H

#include "tls/tls_object.h"

enum { CIPHER_ERROR = -1, CIPHER_DONE, CIPHER_AGAIN, CIPHER_EOF };

/* From this size on OpenSSL works without the GIL: 64 KiB take 30 to 40 us. */
#define CIPHER_RELEASE (64 * 1024)
/* cipher_take() returns at most this much where OpenSSL is called. */
#define CIPHER_TAKE (512 * 1024)

/* Decrypt into a buffer. Return CIPHER_DONE if the buffer is full, CIPHER_AGAIN if the input is
   exhausted, CIPHER_EOF at the peer's close_notify, CIPHER_ERROR with an exception. Store the
   number of decrypted bytes in *total in each case. May release the GIL. */
int cipher_read(TlsObject *self, char *buffer, Py_ssize_t size, Py_ssize_t *total);
/* Encrypt. Return CIPHER_DONE, CIPHER_AGAIN if OpenSSL needs input first, or CIPHER_ERROR with an
   exception. Store the number of encrypted bytes in *count. May release the GIL: the caller holds
   `self` and what owns `data`. */
int cipher_write(TlsObject *self, const char *data, Py_ssize_t size, Py_ssize_t *count);

/* Append a copy of what has arrived to the input. */
int cipher_feed(TlsObject *self, const char *data, Py_ssize_t size);
/* Let OpenSSL read what has arrived from the caller's memory, without a copy. Return 1, or 0 if that
   is not possible: nothing has happened. Runs no Python code. After 1 the caller calls cipher_settle()
   before any Python code runs and before `data` is freed. */
int cipher_lend(TlsObject *self, const char *data, Py_ssize_t size);
/* Copy the rest of what was lent, if anything was. */
int cipher_settle(TlsObject *self);

/* Store the next records for the peer in *data, an object with a size; NULL if there are none. */
int cipher_take(TlsObject *self, PyObject **data);
/* Return how many bytes of the input are not decrypted, and how many bytes of records are not
   taken; -1 with an exception. */
Py_ssize_t cipher_incoming(TlsObject *self);
Py_ssize_t cipher_outgoing(TlsObject *self);

/* Forget what does the work; the next call looks again. For a change of sslobj, incoming,
   outgoing. */
void cipher_unbind(TlsObject *self);

/* Call a function that works on the connection and may release the GIL, a method of _ssl say, while
   no other thread works on it. Return its result, or NULL with an exception. */
PyObject *cipher_call_alone(TlsObject *self, PyObject *function, PyObject *const *args,
                            size_t count);

void cipher_wait_idle(TlsObject *self);

/* Wait until no other thread works on the connection without the GIL. A program that keeps to
   asyncio's rules never waits here. One that does not must not find OpenSSL at work. */
static inline void
cipher_wait(TlsObject *self)
{
    if (self->cipher.busy) {
        cipher_wait_idle(self);
    }
}

#endif
