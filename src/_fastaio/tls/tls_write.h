/* tls_write.h: from the application to the wire.
 *
 * All functions return 0, or -1 with an exception.
 */
#ifndef FASTAIO_TLS_WRITE_H
#define FASTAIO_TLS_WRITE_H

#include "tls/tls_object.h"

/* End the connection because of the raised exception, by self._fatal_error(), as asyncio's data
   path does. What is no Exception (KeyboardInterrupt) stays raised: -1. */
int tls_fail(TlsObject *self);

/* Encrypt and send bytes, or another object with a buffer, as transport.write() does. What cannot
   be encrypted yet is queued. An object without a contiguous buffer ends the connection, as on
   asyncio. */
int tls_write(TlsObject *self, PyObject *data);
/* Do the same for each item of an iterable. */
int tls_write_all(TlsObject *self, PyObject *iterable);
/* Append to the queue, and do nothing else. */
int tls_queue(TlsObject *self, PyObject *data);
/* Encrypt and send the queue. A failure ends the connection. */
int tls_flush(TlsObject *self);
/* Do the same before an end that is certain already: a failure is ignored, and what is left of the
   queue dropped. */
int tls_flush_last(TlsObject *self);
void tls_drop_output(TlsObject *self);

/* asyncio's _do_write(): encrypt the queue, then tls_send(). */
int tls_encrypt(TlsObject *self);
/* asyncio's _process_outgoing(): hand the records to the wire, then tls_control_writing(). */
int tls_send(TlsObject *self);
/* asyncio's _control_app_writing(): call pause_writing() or resume_writing() where a water mark is
   passed. */
int tls_control_writing(TlsObject *self);

#endif
