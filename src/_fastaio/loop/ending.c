/* ending.c: on an interpreter without a GIL, the end of a loop's object in any thread. */
#include "loop/ending.h"

#ifdef Py_GIL_DISABLED

#include <sched.h>

/* The `arg` of an entry that ends its object: such an entry runs even if the loop is closed. */
#define ENDING Py_True

/* So often a thread tries to have the endings of a closed loop run. */
#define TRIES 1000

/* Claim the loop unless this thread has it. Return false if another one has. */
static bool
enter(Ending *ending, PyObject *loop)
{
    Claim *claim = loop ? &((LoopObject *)loop)->claim : NULL;
    ending->loop = NULL;
    if (claim == NULL || claim_is_mine(claim)) {
        return true;
    }
    if (claim_as_guest(claim)) {
        ending->loop = Py_NewRef(loop);
        return true;
    }
    return false;
}

/* Give the reference to an object to the loop, which calls fn(loop, obj) and drops it. If there is no memory for
   that, the reference is never dropped. */
static void
hand_over(LoopObject *loop, PyObject *obj, ready_fn fn)
{
    PyObject *raised = PyErr_GetRaisedException();
    bool lost = false;
    Py_INCREF(loop); /* the object may be gone, and the loop with it, as soon as it is in the inbox */
    ReadyEntry entry = {.kind = READY_NATIVE, .obj = obj, .arg = ENDING, .fn = fn};
    if (inbox_push(&loop->inbox, &entry) < 0) {
        PyErr_WriteUnraisable((PyObject *)loop);
    }
    else if (loop_claim_wake(loop)) {
        loop_wake_claimed(loop);
    }
    else {
        lost = shared_load(&loop->closed);
    }
    /* close() may have emptied the inbox for the last time, and be about to end its claim. */
    for (int tries = 0; lost && tries < TRIES; tries++) {
        if (claim_as_guest(&loop->claim)) {
            endings_run(loop);
            claim_end_as_guest(&loop->claim);
            lost = false;
        }
        else {
            sched_yield();
        }
    }
    Py_DECREF(loop);
    PyErr_SetRaisedException(raised);
}

static int
do_nothing(LoopObject *Py_UNUSED(loop), PyObject *Py_UNUSED(obj))
{
    return 0;
}

bool
ending_begin_dealloc(Ending *ending, PyObject *self, PyObject *loop)
{
    if (enter(ending, loop)) {
        return true;
    }
    compat_disown(self);
    hand_over((LoopObject *)loop, self, do_nothing);
    return false;
}

bool
ending_begin(Ending *ending, PyObject *self, PyObject *loop, ready_fn later)
{
    if (enter(ending, loop)) {
        return true;
    }
    hand_over((LoopObject *)loop, Py_NewRef(self), later);
    return false;
}

/* Move the oldest entry that ends an object out of the ready queue. Return false if there is none from *position
   on, and set it to where to look next. */
static bool
take_ending(ReadyQueue *ready, size_t *position, ReadyEntry *taken)
{
    if (*position - ready->head > ready->tail - ready->head) {
        *position = ready->head; /* an ending has run entries, or dropped them */
    }
    while (*position != ready->tail) {
        ReadyEntry *entry = ready_at(ready, (*position)++);
        if (entry->kind == READY_NATIVE && entry->arg == ENDING) {
            *taken = *entry;
            *entry = (ReadyEntry){.kind = READY_NATIVE, .fn = do_nothing};
            return true;
        }
    }
    return false;
}

void
endings_run(LoopObject *loop)
{
    PyObject *raised = PyErr_GetRaisedException();
    ReadyEntry entry;
    size_t position = loop->ready.head;
    do {
        if (loop_collect_inbox(loop) < 0) {
            PyErr_WriteUnraisable((PyObject *)loop);
        }
        while (take_ending(&loop->ready, &position, &entry)) {
            if (entry.fn(loop, entry.obj) < 0) {
                PyErr_WriteUnraisable(entry.obj);
            }
            ready_drop(&entry);
        }
    } while (loop_has_mail(loop));
    PyErr_SetRaisedException(raised);
}

static int
call_del(LoopObject *Py_UNUSED(loop), PyObject *obj)
{
    if (drop_result(PyObject_CallMethod(obj, "__del__", NULL)) < 0) {
        PyErr_WriteUnraisable(obj);
    }
    return 0;
}

PyObject *
ending_call(PyObject *self, PyObject *loop, PyObject *function)
{
    Ending ending;
    if (!ending_begin(&ending, self, loop, call_del)) {
        return Py_NewRef(Py_None);
    }
    PyObject *result = PyObject_CallOneArg(function, self);
    ending_end(&ending);
    return result;
}

/* ---- a dropped StreamWriter ------------------------------------------------------------------ */

/* Return true if the code that runs now is the finalizer of asyncio's StreamWriter. */
static bool
is_in_writer_del(void)
{
    PyFrameObject *frame = PyEval_GetFrame(); /* borrowed */
    PyCodeObject *code = frame != NULL ? PyFrame_GetCode(frame) : NULL;
    PyObject *name = code != NULL ? PyObject_GetAttrString((PyObject *)code, "co_qualname") : NULL;
    bool is = name != NULL && PyUnicode_Check(name)
              && PyUnicode_CompareWithASCIIString(name, "StreamWriter.__del__") == 0;
    if (code != NULL && name == NULL) {
        PyErr_Clear();
    }
    Py_XDECREF(name);
    Py_XDECREF((PyObject *)code);
    return is;
}

/* Do what StreamWriter.__del__() does with its transport. */
static int
close_dropped(LoopObject *loop, PyObject *transport)
{
    PyObject *closing = PyObject_CallMethod(transport, "is_closing", NULL);
    int is_closing = closing != NULL ? PyObject_IsTrue(closing) : -1;
    Py_XDECREF(closing);
    if (is_closing != 0) {
        return is_closing < 0 ? -1 : 0;
    }
    if (drop_result(PyObject_CallMethodNoArgs(transport, loop->st->str_close)) < 0) {
        return -1;
    }
    return PyErr_ResourceWarning(transport, 1, "unclosed StreamWriter of %R", transport);
}

PyObject *
ending_of_writer(PyObject *transport, PyObject *loop, PyObject *answer, bool guest)
{
    if (answer != Py_False || !is_in_writer_del()) {
        return answer;
    }
    if (!guest) {
        hand_over((LoopObject *)loop, Py_NewRef(transport), close_dropped);
    }
    else if (shared_load(&((LoopObject *)loop)->closed)) {
        return answer; /* the finalizer does what asyncio does then */
    }
    else if (close_dropped((LoopObject *)loop, transport) < 0) {
        return NULL;
    }
    return Py_NewRef(Py_True);
}

void
ending_end(Ending *ending)
{
    if (ending->loop != NULL) {
        claim_end_as_guest(&((LoopObject *)ending->loop)->claim);
        Py_DECREF(ending->loop);
    }
}

#endif
