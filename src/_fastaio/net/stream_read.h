/* stream_read.h: from the kernel to the protocol. */
#ifndef FASTAIO_STREAM_READ_H
#define FASTAIO_STREAM_READ_H

#include "net/stream_object.h"

/* Read once and pass the data to the protocol, if the socket is readable and the protocol reads.
   The read may be queued for a later turn. Return 0, or -1 with what leaves the loop. */
int stream_read(StreamObject *self);
/* Queue one read. Return 0, or -1 with MemoryError. */
int stream_read_later(StreamObject *self);

#endif
