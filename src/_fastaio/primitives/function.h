/* function.h: CoroutineFunction, a native function or method that returns a coroutine.
 *
 * Unlike a builtin function, it answers True to inspect.iscoroutinefunction() (3.12 and newer) and to
 * asyncio.iscoroutinefunction(), as the Python function does that it stands for. unittest.mock, for
 * example, chooses between Mock and AsyncMock by that.
 */
#ifndef FASTAIO_FUNCTION_H
#define FASTAIO_FUNCTION_H

#include "base/state.h"

/* Return the coroutine of a call; NULL with an exception. `self`: the object of a method, of the right type;
   NULL for a function. */
typedef PyObject *(*coroutine_fn)(fastaio_state *st, PyObject *self, PyObject *const *args,
                                  Py_ssize_t count, PyObject *keywords);

typedef struct CoroutineDef {
    const char *name;
    coroutine_fn call;
    const char *doc; /* begins with the signature: "name($self, /)\n--\n\n" */
} CoroutineDef;

/* Make functions of a list that ends with an entry without a name, and add them to the module, or as
   methods to a class of it. Return 0, or -1 with an exception. */
int coroutine_functions_add(PyObject *module, const CoroutineDef *defs);
int add_coroutine_methods(PyObject *module, PyTypeObject *type, const CoroutineDef *defs);

int coroutine_function_type_init(PyObject *module);

#endif
