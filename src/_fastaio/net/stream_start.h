/* stream_start.h: the beginning of a stream connection, and the events of its descriptor.
 *
 * Every function returns 0, or -1 with an exception.
 */
#ifndef FASTAIO_STREAM_START_H
#define FASTAIO_STREAM_START_H

#include "net/stream_object.h"

/* Do what asyncio's constructor does. extra is a dict or NULL, server an asyncio.Server or NULL,
   waiter a future or NULL. On error the socket stays the caller's. */
int stream_set_up(StreamObject *self, LoopObject *loop, PyObject *sock, PyObject *protocol,
                  PyObject *waiter, PyObject *extra, PyObject *server);
/* Pass data to `protocol` from now on. */
int stream_use_protocol(StreamObject *self, fastaio_state *st, PyObject *protocol);
/* Put another socket object in place of the present one. The watched descriptor stays the same. */
int stream_use_socket(StreamObject *self, PyObject *sock);

#endif
