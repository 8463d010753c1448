/* stream.h: the transport of TCP and Unix stream connections. */
#ifndef FASTAIO_STREAM_H
#define FASTAIO_STREAM_H

#include "loop/loop.h"

/* A transport over `sock` (a connected, non-blocking Python socket), as asyncio's selector
   transport: connection_made, then reading, then waiter.set_result(None) follow by the ready
   queue. extra: dict or NULL; server: asyncio.Server or NULL; waiter: a future or NULL. */
PyObject *stream_transport_new(LoopObject *loop, PyObject *sock, PyObject *protocol,
                               PyObject *waiter, PyObject *extra, PyObject *server);

/* transport.write(data) for exact bytes: 0, or -1 with an exception. */
int stream_send(fastaio_state *st, PyObject *transport, PyObject *data);
/* transport.is_closing() where the transport is native: 1 or 0; -1 without an exception elsewhere. */
int stream_tells_closing(fastaio_state *st, PyObject *transport);

int stream_types_init(PyObject *module);

#endif
