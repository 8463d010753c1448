/* traits.h: what differs between the releases of one version of Python, read from asyncio's own code. One build
 * serves all releases of a version. So asyncio_versions.h cannot tell these, and the module looks when it is loaded.
 */
#ifndef FASTAIO_TRAITS_H
#define FASTAIO_TRAITS_H

#include "base/state.h"

/* Fill the state's traits. Return 0, or -1 with an exception. */
int traits_init(fastaio_state *st);

/* Return a tuple of the names that a function uses, the attribute `function` of a class; an empty one without such a
   Python function; NULL with an exception. */
PyObject *function_names(PyObject *type, const char *function);

/* Return true if a tuple of names has this one. */
bool has_name(PyObject *names, const char *name);

#endif
