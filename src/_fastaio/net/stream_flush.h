/* stream_flush.h: when the queue is sent; flow control, failure and closing.
 *
 * Every function returns 0, or -1 with an exception. A failed send is no error of the caller: it
 * ends the connection.
 */
#ifndef FASTAIO_STREAM_FLUSH_H
#define FASTAIO_STREAM_FLUSH_H

#include "net/stream_object.h"

/* Send the queue as far as the kernel takes it. Output that other transports have queued earlier is
   sent first. */
int stream_flush(StreamObject *self);
/* Send the queue of `op` alone, as FlushNode.flush. */
int stream_flush_entry(LoopObject *loop, PyObject *op);
/* Call protocol.pause_writing() if the queue exceeds the high-water mark. */
int stream_maybe_pause(StreamObject *self);
/* Call shutdown(SHUT_WR). */
int stream_shut_down_writing(StreamObject *self);

/* Report exc and force the connection to close, like asyncio's _fatal_error(). */
int stream_fatal_error(StreamObject *self, PyObject *exc, const char *message);
/* Do the same with the raised exception. KeyboardInterrupt and SystemExit stay raised: -1. */
int stream_fatal_raised(StreamObject *self, const char *message);
/* Drop the queue and end the connection with the BufferError that sock.send() raises for a view
   that is not contiguous. */
int stream_fail_scattered(StreamObject *self);
/* Flush, drop what the kernel refuses, and queue connection_lost(exc). */
int stream_force_close(StreamObject *self, PyObject *exc);
/* Close the connection once the queue is sent. */
int stream_close(StreamObject *self);

#endif
