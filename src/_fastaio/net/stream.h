/* stream.h: the transport of TCP and Unix stream connections, for the other rooms. */
#ifndef FASTAIO_STREAM_H
#define FASTAIO_STREAM_H

#include "loop/loop.h"

/* Return a transport over `sock` (a connected, non-blocking Python socket), like asyncio's selector
   transport: connection_made(), reading and waiter.set_result(None) follow through the ready queue.
   extra is a dict or NULL, server an asyncio.Server or NULL, waiter a future or NULL. On error
   return NULL; the socket stays the caller's. */
PyObject *stream_transport_new(LoopObject *loop, PyObject *sock, PyObject *protocol,
                               PyObject *waiter, PyObject *extra, PyObject *server);

/* Call transport.write(data) with exact bytes, natively where the transport is ours. Return 0, or
   -1 with an exception. */
int stream_call_write(fastaio_state *st, PyObject *transport, PyObject *data);
/* Return transport.is_closing() where the transport is native: 1 or 0. Return -1 without an
   exception for any other transport. */
int stream_query_closing(fastaio_state *st, PyObject *transport);

int stream_types_init(PyObject *module);

#endif
