/* server.h: the type Listener, which accepts the connections of one listening socket and makes
 * their transports.
 */
#ifndef FASTAIO_SERVER_H
#define FASTAIO_SERVER_H

#include "loop/loop.h"

/* Add the type Listener. Return 0, or -1 with an exception. */
int server_types_init(PyObject *module);

#endif
