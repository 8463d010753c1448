/* streamreader.h: asyncio's stream readers, fed and read natively.
 *
 * A transport that drives an untouched asyncio.StreamReaderProtocol adopts its reader: the object
 * gets a class of ours, whose reading methods are C. The transport feeds it without a call into
 * Python.
 */
#ifndef FASTAIO_STREAMREADER_H
#define FASTAIO_STREAMREADER_H

#include "loop/loop.h"

typedef struct ReaderCore ReaderCore;

/* Make the reader of `protocol` native and store its state in *link: a borrowed pointer, which
   becomes NULL when the reader is freed. *link is NULL if the protocol has no reader that can be
   adopted. The caller unlinks it before its own memory is freed. Return 0, or -1 with an
   exception. */
int streamreader_adopt(LoopObject *loop, PyObject *protocol, ReaderCore **link);
/* Make *link NULL, if it is not yet. */
void streamreader_unlink(ReaderCore **link);
/* Do what protocol.data_received(data) does. Return 1, 0 if that method has to be called instead,
   or -1 with an exception. */
int streamreader_feed(ReaderCore *core, PyObject *protocol, PyObject *data);

#endif
