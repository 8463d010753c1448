/* stream_base.h: calls in the connection's context, reports, watching, the socket's I/O reference.
 *
 * Every function with an int result returns 0, or -1 with an exception.
 */
#ifndef FASTAIO_STREAM_BASE_H
#define FASTAIO_STREAM_BASE_H

#include "net/stream_object.h"

/* Call fn(self) in `context`, or in a copy of `context` if the context is entered already. Return
   the result of fn. */
int stream_run_in(StreamObject *self, PyObject *context, int (*fn)(StreamObject *));

/* Pass {message, exception, transport, protocol} to the loop's exception handler. Do nothing once
   the connection is lost. */
int stream_report(StreamObject *self, const char *message, PyObject *exc);
/* Call logger.debug(format, self) if the loop is in debug mode. */
int stream_debug(StreamObject *self, const char *format);
/* Call logger.debug("%r: %s", self, message, exc_info=exc) if the loop is in debug mode. */
int stream_debug_error(StreamObject *self, PyObject *exc, const char *message);

/* Keep the transport alive while an event is awaited: the loop's table holds a reference as long as
   reading is possible or refused output waits for room. */
void stream_update_hold(StreamObject *self);
/* Register the descriptor for the events that are wanted now. Do nothing while sendfile() has the
   descriptor. */
int stream_watch(StreamObject *self);
/* Register again, so that the kernel repeats an event that it has reported before. A foreign socket
   may say "would block" where the kernel would not. */
int stream_watch_again(StreamObject *self);

/* Take an I/O reference on `sock`: close() of the socket then waits for stream_drop_io_ref(). A
   socket without such a count gets none. */
int stream_take_io_ref(StreamObject *self, fastaio_state *st, PyObject *sock);
/* Give the I/O reference back. The socket closes now if its user has closed it before. */
int stream_drop_io_ref(StreamObject *self, fastaio_state *st, PyObject *sock);
/* Call server._attach() and server._detach(), as this version of asyncio does. */
int stream_attach(StreamObject *self, fastaio_state *st, PyObject *server);
int stream_detach(StreamObject *self, fastaio_state *st, PyObject *server);

/* Drop the queue and what the keeper has sent of it. */
void stream_drop_output(StreamObject *self);

#endif
