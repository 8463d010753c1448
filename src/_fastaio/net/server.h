/* server.h: Listener: accepts connections of one listening socket and makes their transports. */
#ifndef FASTAIO_SERVER_H
#define FASTAIO_SERVER_H

#include "loop/loop.h"

int server_types_init(PyObject *module);

#endif
