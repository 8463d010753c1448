/* tls_state.h: TLS over any transport: asyncio's SSLProtocol with its data path in C.
 *
 * fastaio/tls.py joins these types with asyncio's classes. Configuration, handshake, shutdown and
 * timeouts run asyncio's code. The hot paths, writing and reading, are C.
 */
#ifndef FASTAIO_TLS_STATE_H
#define FASTAIO_TLS_STATE_H

#include "base/state.h"

/* Make st->tls and the types, and register the feed for the transports below. Return 0, or -1 with
   an exception. */
int tls_types_init(PyObject *module);
/* The parts of the module's tp_traverse and tp_clear that concern st->tls, which may be NULL. */
int tls_state_traverse(fastaio_state *st, visitproc visit, void *arg);
void tls_state_clear(fastaio_state *st);

#endif
