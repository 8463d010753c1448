/* tls_type.h: the type TlsProtocol. */
#ifndef FASTAIO_TLS_TYPE_H
#define FASTAIO_TLS_TYPE_H

#include "tls/tls_object.h"

/* Do what get_extra_info(name, fallback) does. Return the value, or NULL with an exception. */
PyObject *tls_extra_info(TlsObject *self, PyObject *name, PyObject *fallback);

/* Add the type to the module and to st->tls. Return 0, or -1 with an exception. */
int tls_protocol_type_init(PyObject *module);

#ifdef Py_GIL_DISABLED
/* Do transport.get_extra_info() in a thread that does not get the loop's claim. Return a new reference, or NULL with
   an exception. */
PyObject *tls_look_extra_info(TlsObject *self, PyObject *name, PyObject *fallback);
/* Tell in such a thread whether the wire is closing. */
PyObject *tls_look_wire_closing(TlsObject *self);
#endif

#endif
