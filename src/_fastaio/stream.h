/* stream.h: the transport of TCP and Unix stream connections. */
#ifndef FASTAIO_STREAM_H
#define FASTAIO_STREAM_H

#include "loop.h"

/* A transport over `sock` (a connected, non-blocking Python socket), as asyncio's selector
   transport: connection_made, then reading, then waiter.set_result(None) follow by the ready
   queue. extra: dict or NULL; server: asyncio.Server or NULL; waiter: a future or NULL. */
PyObject *stream_transport_new(LoopObject *loop, PyObject *sock, PyObject *protocol,
                               PyObject *waiter, PyObject *extra, PyObject *server);

int stream_types_init(PyObject *module);

#endif
