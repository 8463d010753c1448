/* event.h: Event. */
#ifndef FASTAIO_EVENT_H
#define FASTAIO_EVENT_H

#include "base/state.h"

/* Do event.set() or event.clear(), by name if the object is not a plain Event. Both enter its critical section.
   Return 0, or -1 with an exception. */
int event_set(fastaio_state *st, PyObject *event);
int event_clear(fastaio_state *st, PyObject *event);

int event_type_init(PyObject *module);

#endif
