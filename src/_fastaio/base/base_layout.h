/* base_layout.h: where asyncio's own Task keeps some of its fields.
 *
 * The base of a native task is never initialised, but others read some of its fields: the base's own
 * getters, when they are called unbound, and from 3.14 on `python -m asyncio ps`, from another process.
 * So the native task fills these fields. Their offsets come from a probe task, and from 3.14 on from
 * the interpreter's debug section, checked against the probe. An unknown offset is 0: the field stays
 * empty, and only its readers miss something.
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
    uint16_t node;         /* 3.14: the task's TaskNode in the thread state's list of tasks */
    uint16_t tasks_head;   /* 3.14: the head of that list, in the thread state */
    uint16_t running_loop; /* 3.14: in the thread state */
    uint16_t running_task; /* 3.14: in the thread state */
    uint16_t thread;       /* 3.14 without a GIL: the thread that has the task in its list */
    bool thread_checked;   /* running_loop and running_task have proved right for a running loop */
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

/* Put a strong reference into a field of the base, whose dealloc drops it. No effect if the offset is
   unknown. */
static inline void
base_field_set(void *obj, uint16_t offset, PyObject *value)
{
    if (offset != 0) {
        Py_XSETREF(*base_field(obj, offset), Py_NewRef(value));
    }
}

#endif
