/* stream_send.h: the system calls that send the queue. Nothing here calls the protocol. */
#ifndef FASTAIO_STREAM_SEND_H
#define FASTAIO_STREAM_SEND_H

#include "net/stream_object.h"

/* Send until the queue is empty or the socket takes no more; `writable` is false then. Return 0, or
   -1 with the exception of the send. A foreign socket's method may end the connection: `loop` is
   NULL then. */
int stream_send_queue(StreamObject *self);
/* Send what the kernel takes, and tell nobody. For finalizers; raises nothing. */
void stream_send_last(StreamObject *self);

/* Send as FlushNode.keep: in the keeper's thread, without the GIL, under the lock of the list.
   Return true if another try is worth while. */
bool stream_keep(FlushNode *node);
/* Apply what the keeper has sent, as if it had been sent now. The node must be off the list. Return
   0, or -1 with OSError if the keeper's send failed. */
int stream_take_kept(StreamObject *self);

#endif
