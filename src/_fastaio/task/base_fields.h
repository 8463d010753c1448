/* base_fields.h: the fields of asyncio's Task that onlookers read, in a native task (base/base_layout.h). */
#ifndef FASTAIO_BASE_FIELDS_H
#define FASTAIO_BASE_FIELDS_H

#include "task/objects.h"

/* Put the task's name where the base has it. Return 0, or -1 with an exception. */
static inline int
base_fields_set_name(TaskObject *task)
{
    uint16_t offset = task->core.st->layout.name;
    if (offset == 0) {
        return 0;
    }
    /* As in asyncio, a number stands for "Task-<number>". */
    PyObject *name = task->name ? Py_NewRef(task->name) : PyLong_FromUnsignedLongLong(task->number);
    if (name == NULL) {
        return -1;
    }
    Py_XSETREF(*base_field(task, offset), name);
    return 0;
}

/* Fill the fields of a task that is set up. Return 0, or -1 with an exception. */
static inline int
base_fields_fill(TaskObject *task)
{
    const BaseLayout *layout = &task->core.st->layout;
    base_field_set(task, layout->coro, task->coro);
    base_field_set(task, layout->context, task->context);
    if (layout->is_task) {
        ((char *)task)[layout->is_task] = 1;
    }
    return base_fields_set_name(task);
}

/* Empty the fields of a task in its dealloc. */
static inline void
base_fields_empty(TaskObject *task, const BaseLayout *layout)
{
    if (layout->coro) {
        Py_CLEAR(*base_field(task, layout->coro));
    }
    if (layout->context) {
        Py_CLEAR(*base_field(task, layout->context));
    }
    if (layout->name) {
        Py_CLEAR(*base_field(task, layout->name));
        ((char *)task)[layout->is_task] = 0;
    }
}

#endif
