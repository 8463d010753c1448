/* accept.h: the coroutine that sets up an accepted connection. */
#ifndef FASTAIO_ACCEPT_H
#define FASTAIO_ACCEPT_H

#include "loop/loop.h"

/* Return a coroutine that makes the protocol by factory() and the transport of `conn`, and ends once
   connection_made() has returned; NULL with an exception. server: an asyncio.Server or NULL. */
PyObject *accept_new(LoopObject *loop, PyObject *factory, PyObject *conn, PyObject *extra,
                     PyObject *server);

/* Add the type. Return 0, or -1 with an exception. */
int accept_type_init(PyObject *module);

#endif
