/* tls_transport.h: the type TlsTransport. */
#ifndef FASTAIO_TLS_TRANSPORT_H
#define FASTAIO_TLS_TRANSPORT_H

#include "tls/tls_object.h"

/* Add the type to the module and to st->tls. Return 0, or -1 with an exception. */
int tls_transport_type_init(PyObject *module);

#endif
