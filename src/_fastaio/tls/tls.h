/* tls.h: TLS over any transport: asyncio's SSLProtocol with its data path in C.
 *
 * fastaio/tls.py joins these types with asyncio's classes: configuration,
 * handshake, shutdown and timeouts stay asyncio's; what repeats with the
 * traffic is here.
 */
#ifndef FASTAIO_TLS_H
#define FASTAIO_TLS_H

#include "loop/loop.h"

int tls_types_init(PyObject *module);
int tls_state_traverse(fastaio_state *st, visitproc visit, void *arg);
void tls_state_clear(fastaio_state *st);

#endif
