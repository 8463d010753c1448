/* metrics.c: the counters as a dict. */
#include "loop/metrics.h"

static int
set_counter(PyObject *dict, const char *name, uint64_t value)
{
    PyObject *number = PyLong_FromUnsignedLongLong(value);
    if (number == NULL) {
        return -1;
    }
    int result = PyDict_SetItemString(dict, name, number);
    Py_DECREF(number);
    return result;
}

static PyObject *
lag_list(const Metrics *metrics)
{
    PyObject *list = PyList_New(METRICS_LAG_BUCKETS);
    if (list == NULL) {
        return NULL;
    }
    for (Py_ssize_t i = 0; i < METRICS_LAG_BUCKETS; i++) {
        PyObject *count = PyLong_FromUnsignedLongLong(relaxed_load(&metrics->lag[i]));
        if (count == NULL) {
            Py_DECREF(list);
            return NULL;
        }
        PyList_SET_ITEM(list, i, count);
    }
    return list;
}

PyObject *
metrics_dict(const Metrics *metrics, const Gauges *gauges)
{
    PyObject *lag = NULL;
    PyObject *dict = PyDict_New();
    if (dict == NULL) {
        return NULL;
    }
#define X(name)                                                                                    \
    if (set_counter(dict, #name, relaxed_load(&metrics->name)) < 0) {                                             \
        goto error;                                                                                \
    }
    METRICS_COUNTERS(X)
#undef X
#define X(name)                                                                                    \
    if (set_counter(dict, #name, gauges->name) < 0) {                                              \
        goto error;                                                                                \
    }
    METRICS_GAUGES(X)
#undef X
    lag = lag_list(metrics);
    if (lag == NULL || PyDict_SetItemString(dict, "lag_histogram", lag) < 0) {
        goto error;
    }
    Py_DECREF(lag);
    return dict;
error:
    Py_XDECREF(lag);
    Py_DECREF(dict);
    return NULL;
}
