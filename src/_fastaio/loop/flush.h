/* flush.h: the list of a loop's transports with queued output, and the rules for touching it.
 *
 * Threads:
 * 1. A transport whose node is not listed belongs to the threads that hold the GIL, like any object; where there
 *    is no GIL, here and in the following rules to the thread that has claimed the loop.
 * 2. While its node is listed, the keeper may read the transport's queue and descriptor, and writes
 *    the node's kept_* fields. The keeper does both only under the list's lock. It holds no
 *    reference and changes nothing else.
 * 3. So threads that hold the GIL take the lock to list a node, to take it off, and to push on the
 *    queue of a listed one. Whatever else changes a transport's queue, socket or loop takes the node
 *    off first.
 * 4. Under the lock no code of Python runs, and the GIL is not released: the keeper never waits for
 *    the GIL, and a thread that waits for the keeper waits for system calls that do not block.
 * 5. The keeper's own lock is taken before a list's lock, never after it.
 */
#ifndef FASTAIO_FLUSH_H
#define FASTAIO_FLUSH_H

#include "base/compat.h"
#include "loop/clock.h"
#include <stdatomic.h>

typedef struct LoopObject LoopObject;
struct Keeper;

/* A transport with queued output. */
typedef struct FlushNode {
    struct FlushNode *next;
    struct FlushNode **link; /* the pointer that points to this node; NULL: not listed */
    LoopObject *loop;        /* borrowed: the loop in whose list the node is */
    PyObject *owner;         /* borrowed: the object that embeds the node; after try_ref_enable() */
    /* Send the queued output. Return 0, or -1 with what must leave the loop. */
    int (*flush)(LoopObject *loop, PyObject *owner);
    /* Send as much as the kernel takes without blocking. Called by the keeper, without the GIL. Return true
       if more may be sent later. */
    bool (*keep)(struct FlushNode *node);
    /* Results of the keeper since the node was listed: */
    unsigned kept_sends;
    size_t kept_size; /* bytes sent from the head of the queue */
    int kept_error;   /* errno of a send, which the kernel reports only once */
    bool kept_full;   /* the kernel took no more */
} FlushNode;

/* The nodes of a loop, in the order in which they were listed. */
typedef struct FlushList {
    atomic_uint lock;      /* LIST_*: a futex, since a mutex costs three times the instructions */
    FlushNode *first;
    FlushNode **end;       /* the pointer that the next node is hooked into */
    int64_t since_ns;      /* when the first of them was listed */
    unsigned additions;    /* the number of additions to the queues of listed transports */
    unsigned seen;         /* the keeper's: `additions` at its last look */
    atomic_bool kept;      /* a keeper runs and looks at this list */
    struct FlushList *next_kept; /* in keeper->lists */
    struct FlushList **kept_link;
    struct Keeper *keeper; /* borrowed: the module state's; NULL: it has been freed */
} FlushList;

enum { LIST_FREE, LIST_TAKEN, LIST_WANTED };

/* Make an empty list. keeper_forget() must come before its memory is freed. */
void flush_list_init(FlushList *list, struct Keeper *keeper);

void flush_wait_for_lock(FlushList *list);
void flush_wake_waiter(FlushList *list);

/* Take the lock. Return false if another thread has it. */
static inline bool
flush_try_lock(FlushList *list)
{
    unsigned state = LIST_FREE;
    return atomic_compare_exchange_strong_explicit(&list->lock, &state, LIST_TAKEN,
                                                   memory_order_acquire, memory_order_relaxed);
}
static inline void
flush_lock(FlushList *list)
{
    if (!flush_try_lock(list)) {
        flush_wait_for_lock(list);
    }
}
static inline void
flush_unlock(FlushList *list)
{
    if (atomic_exchange_explicit(&list->lock, LIST_FREE, memory_order_release) == LIST_WANTED) {
        flush_wake_waiter(list);
    }
}
/* Return true if a thread waits for the lock, so that its holder does not keep it for long. */
static inline bool
flush_lock_is_wanted(FlushList *list)
{
    return atomic_load_explicit(&list->lock, memory_order_relaxed) == LIST_WANTED;
}

/* Count that more was queued. The caller has the lock. */
static inline void
flush_added(FlushList *list)
{
    list->additions++;
}

/* Append a node that is not listed, or remove one that is. Both take the lock. */
static inline void
flush_list_append(FlushList *list, FlushNode *node)
{
    int64_t now_ns = list->first == NULL ? clock_ns() : 0;
    flush_lock(list);
    if (list->first == NULL) {
        list->since_ns = now_ns;
        list->end = &list->first;
    }
    node->next = NULL;
    node->link = list->end;
    *list->end = node;
    list->end = &node->next;
    flush_added(list);
    flush_unlock(list);
}

static inline void
flush_list_remove(FlushList *list, FlushNode *node)
{
    flush_lock(list);
    *node->link = node->next;
    if (node->next != NULL) {
        node->next->link = node->link;
    }
    else {
        list->end = node->link;
    }
    node->next = NULL;
    node->link = NULL;
    flush_unlock(list);
}

/* Forget what the keeper has done. The node must be off the list. */
static inline void
flush_forget_kept(FlushNode *node)
{
    node->kept_sends = 0;
    node->kept_size = 0;
    node->kept_error = 0;
    node->kept_full = false;
}

#endif
