/* tls_read.h: from the wire to the application.
 *
 * All functions return 0, or -1 with an exception.
 */
#ifndef FASTAIO_TLS_READ_H
#define FASTAIO_TLS_READ_H

#include "tls/tls_object.h"

/* Take what has arrived for a TlsProtocol and go on with the handshake, the data or the shutdown: a
   native_feed_fn. */
int tls_feed(PyObject *protocol, const char *data, Py_ssize_t size);
/* asyncio's _do_read(): decrypt and deliver, unless the application has paused reading. A failure
   ends the connection. */
int tls_read(TlsObject *self);
/* asyncio's _resume_reading(): reading goes on in the next turn. */
int tls_resume_reading(TlsObject *self);
/* asyncio's _control_ssl_reading(): pause or resume the wire where a water mark is passed. */
int tls_control_reading(TlsObject *self);
/* Deliver to another protocol from here on; None for none. */
int tls_use_protocol(TlsObject *self, PyObject *protocol);

#endif
