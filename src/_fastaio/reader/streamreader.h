/* streamreader.h: asyncio's stream readers, fed and read natively.
 *
 * A transport that drives an untouched asyncio.StreamReaderProtocol adopts its
 * reader: the object gets a class of ours whose reading methods are C, and what
 * the transport receives goes into it without a call into Python.
 */
#ifndef FASTAIO_STREAMREADER_H
#define FASTAIO_STREAMREADER_H

#include "loop/loop.h"

typedef struct ReaderCore ReaderCore;

/* Makes the reader of `protocol` native and lets *link point to it, as long as both live; *link
   becomes NULL where there is nothing to adopt. 0, or -1 with an exception. */
int streamreader_adopt(LoopObject *loop, PyObject *protocol, ReaderCore **link);
/* Forgets it. */
void streamreader_unlink(ReaderCore **link);
/* What protocol.data_received(data) does. 1: done, 0: that method is to be called, -1: error. */
int streamreader_feed(ReaderCore *core, PyObject *protocol, PyObject *data);

int streamreader_types_init(PyObject *module);

#endif
