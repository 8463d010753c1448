/* ending.h: on an interpreter without a GIL, the end of a loop's object in any thread.
 *
 * Any thread may drop the last reference to an object, and the collector runs in any thread. The dealloc, the
 * finalizer and tp_clear of an object of a loop touch the loop's structures, so they need the loop's claim:
 *
 * 1. A thread that has the claim, or gets it because nobody has it, does the work at once.
 * 2. While another thread has it, the object lives on. An entry in the loop's inbox owns it, and the loop does
 *    the work when it runs the entry, at the latest when it is closed, or ends itself.
 * 3. So whoever has the claim may use an object that the loop's tables have borrowed: its memory stays. try_ref()
 *    makes a reference to such an object, unless it is at its end.
 *
 * With a GIL all of this is nothing.
 */
#ifndef FASTAIO_ENDING_H
#define FASTAIO_ENDING_H

#include "loop/loop.h"

#ifdef Py_GIL_DISABLED

typedef struct {
    PyObject *loop; /* owned and claimed here; NULL: the object has none, or this thread had the claim */
} Ending;

/* Begin the dealloc of an object, whose references are all gone. Return true if the caller goes on with it, and
   calls ending_end() afterwards. Return false if the object lives on, and the caller has to leave it alone. */
bool ending_begin_dealloc(Ending *ending, PyObject *self, PyObject *loop);
/* Begin a finalizer or tp_clear, which later() does if the loop has to do it. Return as above. */
bool ending_begin(Ending *ending, PyObject *self, PyObject *loop, ready_fn later);
void ending_end(Ending *ending);
/* Do what other threads have handed over, before the loop drops what is queued. */
void endings_run(LoopObject *loop);

#define GUARD_DEALLOC(slot, loop_of)                                                               \
    static void slot(PyObject *self);                                                              \
    static void guarded_##slot(PyObject *self)                                                     \
    {                                                                                              \
        Ending ending;                                                                             \
        if (ending_begin_dealloc(&ending, self, loop_of(self))) {                                  \
            slot(self);                                                                            \
            ending_end(&ending);                                                                   \
        }                                                                                          \
    }

#define GUARD_FINALIZE(slot, loop_of)                                                              \
    static int later_##slot(LoopObject *loop, PyObject *self)                                      \
    {                                                                                              \
        (void)loop;                                                                                \
        slot(self);                                                                                \
        return 0;                                                                                  \
    }                                                                                              \
    static void guarded_##slot(PyObject *self)                                                     \
    {                                                                                              \
        Ending ending;                                                                             \
        if (ending_begin(&ending, self, loop_of(self), later_##slot)) {                            \
            slot(self);                                                                            \
            ending_end(&ending);                                                                   \
        }                                                                                          \
    }

#define GUARD_CLEAR(slot, loop_of)                                                                 \
    static int later_##slot(LoopObject *loop, PyObject *self)                                      \
    {                                                                                              \
        (void)loop;                                                                                \
        return slot(self);                                                                         \
    }                                                                                              \
    static int guarded_##slot(PyObject *self)                                                      \
    {                                                                                              \
        Ending ending;                                                                             \
        if (ending_begin(&ending, self, loop_of(self), later_##slot)) {                            \
            slot(self);                                                                            \
            ending_end(&ending);                                                                   \
        }                                                                                          \
        return 0;                                                                                  \
    }

/* Define the method _end(function, /) of a type whose subclasses have a __del__() in Python, for such a __del__()
   to call; and add it, after guard_type(). It calls function(self) with the loop claimed. While another thread has
   the loop, it does nothing, and the loop calls __del__() again. loop_of(self) is like GuardRules.loop_of. Return 0, or -1 with an exception. */
#define ENDING_METHOD(loop_of)                                                                     \
    static PyObject *end_method(PyObject *self, PyObject *function)                                \
    {                                                                                              \
        return ending_call(self, loop_of(self), function);                                         \
    }                                                                                              \
    static PyMethodDef end_methods[] = {{"_end", end_method, METH_O, NULL}, {NULL, NULL, 0, NULL}};

PyObject *ending_call(PyObject *self, PyObject *loop, PyObject *function);

#define ENDING_METHOD_ADD(type) state_add_methods(type, end_methods)

/* Guard the method is_closing() of a transport, which has to stand among the free names of the type. `look` answers
   in a thread that does not get the claim. asyncio's StreamWriter.__del__() calls the method, in the thread that
   drops the writer. While another thread has the loop, the loop closes the transport instead, and warns as
   __del__() does. */
#define GUARD_IS_CLOSING(method, loop_of, look)                                                    \
    static PyObject *method(PyObject *self, PyObject *ignored);                                    \
    static PyObject *guarded_##method(PyObject *self, PyObject *ignored)                           \
    {                                                                                              \
        Guard guard;                                                                               \
        PyObject *loop = loop_of(self);                                                            \
        if (!guard_try_as_guest(&guard, self, loop)) {                                             \
            return ending_of_writer(self, loop, look(self, ignored), false);                       \
        }                                                                                          \
        PyObject *result = method(self, ignored);                                                  \
        if (guard.guest) {                                                                         \
            result = ending_of_writer(self, loop, result, true);                                   \
        }                                                                                          \
        guard_end(&guard);                                                                         \
        return result;                                                                             \
    }

/* Finish is_closing() in a thread that is a guest of the loop, or may not use it. `answer` is what the method or
   the look says. In the finalizer of a StreamWriter that is not closing, close the transport, or have the loop do
   it, and return True, since the finalizer's own close() may come too late; elsewhere return `answer`. */
PyObject *ending_of_writer(PyObject *transport, PyObject *loop, PyObject *answer, bool guest);

#else

#define endings_run(loop) ((void)(loop))
#define ENDING_METHOD(loop_of)
#define ENDING_METHOD_ADD(type) 0
#define GUARD_IS_CLOSING(method, loop_of, look)
#define GUARD_DEALLOC(slot, loop_of)
#define GUARD_FINALIZE(slot, loop_of)
#define GUARD_CLEAR(slot, loop_of)

#endif

#endif
