/* sink.h: delivery of received data: natively to a stream reader, else to data_received(). */
#ifndef FASTAIO_SINK_H
#define FASTAIO_SINK_H

#include "reader/streamreader.h"

/* Do what (*protocol).data_received(data) does. `protocol` is the field that has the protocol;
   `reader` is what streamreader_adopt() has found for it, or NULL. Both run code of the user's,
   which may change or clear the field: so the field is read again after the reader, and data
   without a protocol is dropped. Return 0, or -1 with the exception of the protocol. */
static inline int
sink_deliver(fastaio_state *st, PyObject *const *protocol, ReaderCore *reader, PyObject *data)
{
    if (reader != NULL && *protocol != NULL) {
        int fed = streamreader_feed(reader, *protocol, data);
        if (fed != 0) {
            return fed > 0 ? 0 : -1;
        }
    }
    if (*protocol == NULL) {
        return 0;
    }
    PyObject *args[] = {Py_NewRef(*protocol), data};
    PyObject *result = PyObject_VectorcallMethod(st->str_data_received, args, 2, NULL);
    Py_DECREF(args[0]);
    return drop_result(result);
}

#endif
