/* stream_end.h: the end of a stream connection.
 *
 * Every function returns 0, or -1 with an exception.
 */
#ifndef FASTAIO_STREAM_END_H
#define FASTAIO_STREAM_END_H

#include "net/stream_object.h"

/* Queue connection_lost(exc) and stop watching the descriptor. exc may be None. Output must have
   been flushed or dropped before. */
int stream_lose(StreamObject *self, PyObject *exc);
/* Call protocol.connection_lost(lost_exc), then release the socket, the server, the protocol and
   the loop. Do nothing if that has happened already. */
int stream_call_lost(StreamObject *self);
/* Stop watching, then close the socket and detach from the server, each once. */
int stream_release(StreamObject *self);
/* End the future that sendfile() awaits, if there is one and it is pending: with exc, or with
   success where exc is NULL. On success sendfile() has the descriptor until _reset_empty_waiter(). */
int stream_end_empty_waiter(StreamObject *self, PyObject *exc);

#endif
