/* base_layout.h: where asyncio's own Task keeps some of its fields.
 *
 * The base of our tasks is never initialised, but some of its fields are read by others: by the
 * base's getters when they are called unbound, and from 3.14 on by `python -m asyncio ps` from
 * another process. The offsets are taken from a probe task (and, from 3.14 on, from the
 * interpreter's own debug section, checked against the probe); an unknown one is 0, and then only
 * that onlooker loses.
 */
#ifndef FASTAIO_BASE_LAYOUT_H
#define FASTAIO_BASE_LAYOUT_H

#include "base/compat.h"

typedef struct {
    uint16_t coro;
    uint16_t context;
    uint16_t name;         /* 3.14 */
    uint16_t awaited_by;   /* 3.14 */
    uint16_t is_task;      /* 3.14: one byte */
    uint16_t node;         /* 3.14: in the list of tasks that the thread state has */
    uint16_t tasks_head;   /* 3.14: of that list, in the thread state */
    uint16_t running_loop; /* 3.14: in the thread state */
    uint16_t running_task; /* 3.14: in the thread state */
    bool thread_checked;   /* the last two have been seen to be right */
} BaseLayout;

/* A link of asyncio's circular lists. */
typedef struct TaskNode {
    struct TaskNode *next;
    struct TaskNode *prev;
} TaskNode;

static inline TaskNode *
base_node(void *obj, uint16_t offset)
{
    return (TaskNode *)((char *)obj + offset);
}

static inline PyObject **
base_field(void *obj, uint16_t offset)
{
    return (PyObject **)((char *)obj + offset);
}

/* Puts a strong reference into a field of the base, which drops it with its own fields. */
static inline void
base_field_set(void *obj, uint16_t offset, PyObject *value)
{
    if (offset != 0) {
        Py_XSETREF(*base_field(obj, offset), Py_NewRef(value));
    }
}

/* _adopt_task_numbers(), _adopt_layout(): see fastaio/_registry.py. */
PyObject *base_layout_adopt_numbers(PyObject *module, PyObject *args);
extern const char base_layout_adopt_numbers_doc[];
PyObject *base_layout_adopt(PyObject *module, PyObject *args);
extern const char base_layout_adopt_doc[];

#endif
