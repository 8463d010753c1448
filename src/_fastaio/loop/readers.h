/* readers.h: add_reader(), add_writer() and their removal. */
#ifndef FASTAIO_READERS_H
#define FASTAIO_READERS_H

#include "loop/ready.h"

/* Return 0; or -1 with RuntimeError if a transport, native or asyncio's own, uses fd. */
int readers_ensure_free(LoopObject *loop, int fd);

/* The methods add_reader, remove_reader, add_writer, remove_writer and their underscored forms. */
extern PyMethodDef readers_methods[];

#endif
