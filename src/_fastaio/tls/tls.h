/* tls.h: TLS over any transport: asyncio's SSLProtocol with its data path in C.
 *
 * fastaio/tls.py joins these types with asyncio's classes: configuration,
 * handshake, shutdown and timeouts stay asyncio's; what repeats with the
 * traffic is here.
 */
#ifndef FASTAIO_TLS_H
#define FASTAIO_TLS_H

#include "loop/loop.h"

/* Whether `protocol` takes what arrives for it by tls_feed(): 1, 0, or -1 with an exception. */
int tls_is_native(LoopObject *loop, PyObject *protocol);
/* What protocol.get_buffer() and .buffer_updated() do: `size` bytes have arrived. They are no longer
   needed once the first call into Python is made, so they may lie in the loop's hot buffer.
   0, or -1 with an exception. */
int tls_feed(PyObject *protocol, const char *data, Py_ssize_t size);

int tls_types_init(PyObject *module);
int tls_state_traverse(fastaio_state *st, visitproc visit, void *arg);
void tls_state_clear(fastaio_state *st);

#endif
