/* literal.h: the function known_literal(), the fast way of getaddrinfo() for numeric addresses. */
#ifndef FASTAIO_LITERAL_H
#define FASTAIO_LITERAL_H

#include "base/state.h"

/* Add the function. Return 0, or -1 with an exception. */
int literal_init(PyObject *module);

#endif
