/* stream_looks.c: what a thread sees of a stream transport while another thread has the loop.
 *
 * A look sends nothing. What was written and not sent counts as queued, and the loop sends it soon, also if a look
 * has given the socket away.
 */
#include "net/stream_looks.h"

#include "base/args.h"

#ifdef Py_GIL_DISABLED

PyObject *
stream_look_closing(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(relaxed_load(&((StreamObject *)op)->life.closing));
}

static PyObject *
look_reading(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    StreamObject *self = (StreamObject *)op;
    return PyBool_FromLong(!relaxed_load(&self->life.closing) && !relaxed_load(&self->in.paused));
}

static PyObject *
look_protocol(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    PyObject *protocol = section_get(op, &((StreamObject *)op)->sink.protocol);
    return protocol != NULL ? protocol : Py_NewRef(Py_None);
}

static PyObject *
look_extra_info(PyObject *op, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    PyObject *name, *fallback;
    if (parse_extra_info(args, count, keywords, &name, &fallback) < 0) {
        return NULL;
    }
    PyObject *extra = section_get(op, &((StreamObject *)op)->extra);
    return stream_find_extra(extra, name, fallback != NULL ? fallback : Py_None);
}

static PyObject *
look_buffer_size(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromSsize_t(relaxed_load(&((StreamObject *)op)->out.pieces.size));
}

static PyObject *
look_buffer_limits(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    StreamObject *self = (StreamObject *)op;
    Section section;
    section_begin(&section, op); /* both change together, and as attributes */
    Py_ssize_t low = self->out.low_water, high = self->out.high_water;
    section_end(&section);
    return Py_BuildValue("(nn)", low, high);
}

PyMethodDef stream_looks[] = {
    {"is_reading", look_reading, METH_NOARGS, NULL},
    {"get_protocol", look_protocol, METH_NOARGS, NULL},
    {"get_extra_info", KEYWORDS(look_extra_info), METH_FASTCALL | METH_KEYWORDS, NULL},
    {"get_write_buffer_size", look_buffer_size, METH_NOARGS, NULL},
    {"get_write_buffer_limits", look_buffer_limits, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

#endif
