/* uring_impl.h: the ring as uring.c makes it and uring_poller.c drives it; nobody else's. */
#ifndef FASTAIO_URING_IMPL_H
#define FASTAIO_URING_IMPL_H

#include "poll/uring.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

/* user_data tells by its last three bits what is completed. */
#define TAG_MASK      UINT64_C(7)
#define TAG_OPERATION UINT64_C(0) /* the address of a UringOp; all zero: nobody waits for it */
#define TAG_POLL      UINT64_C(1) /* this bit: serial << 32 | fd << 1 | 1 */
#define TAG_WAKE      UINT64_C(2) /* serial << 32 | 2 */
#define TAG_LEVELS    UINT64_C(4) /* serial << 32 | 4 */

/* A switch for tests, where assertions are on: what the next calls of a kind do instead. */
typedef enum {
    FAULT_SETUP,
    FAULT_ENTER,
    FAULT_REGISTER,
    FAULT_SUBMIT, /* no more than `error` requests are taken */
    FAULT_QUEUE,  /* a new ring has room for no more than `error` completions */
    FAULT_KINDS
} FaultKind;

typedef struct {
    int error;      /* what the call fails with */
    unsigned times; /* how often */
} Fault;

struct Uring {
    int fd; /* -1: there is no ring, as in a forked child */
    bool enabled;
    pthread_t owner; /* once enabled */
    uint32_t features;

    /* the submission queue */
    _Atomic uint32_t *sq_head;
    _Atomic uint32_t *sq_tail;
    _Atomic uint32_t *sq_flags;
    UringSqe *sqes;
    uint32_t sq_mask;
    uint32_t sq_entries;
    uint32_t sqe_tail; /* our end of it; published when the kernel is entered */

    /* the completion queue */
    _Atomic uint32_t *cq_head;
    _Atomic uint32_t *cq_tail;
    UringCqe *cqes;
    uint32_t cq_mask;

    void *rings; /* the mapping of both */
    size_t rings_size;
    size_t sqes_size;

    bool *here;        /* on a page that a forked child finds wiped */
    unsigned renewals; /* how many rings there have been before this one */
    UringOp *in_flight;
    UringOp *finished; /* ended with an earlier ring, not reported yet */
    unsigned count;
    UringProbe *probe; /* or NULL, before anybody has asked */
#ifndef NDEBUG
    Fault faults[FAULT_KINDS];
#endif
};

/* Whether this process made the ring: a forked child must not touch its copy. */
static inline bool
uring_is_ours(const Uring *ring)
{
    return *ring->here;
}

/* How many requests wait to be handed to the kernel. */
static inline uint32_t
uring_queued(const Uring *ring)
{
    return ring->sqe_tail - atomic_load_explicit(ring->sq_head, memory_order_acquire);
}

static inline bool
uring_has_completions(const Uring *ring)
{
    return atomic_load_explicit(ring->cq_tail, memory_order_acquire) !=
           atomic_load_explicit(ring->cq_head, memory_order_relaxed);
}

/* Whether the kernel has completions that it delivers when it is entered. */
static inline bool
uring_owes(const Uring *ring)
{
    return (atomic_load_explicit(ring->sq_flags, memory_order_relaxed) &
            (URING_SQ_TASKRUN | URING_SQ_CQ_OVERFLOW)) != 0;
}

/* Nothing to submit, nothing to collect: told without a system call. */
static inline bool
uring_is_idle(const Uring *ring)
{
    return !uring_has_completions(ring) && !uring_owes(ring) && uring_queued(ring) == 0 &&
           ring->finished == NULL;
}

/* A ring that waits to be enabled; NULL with *error set to an errno. */
Uring *uring_create(int *error);
/* In a forked child: lets go of the copy of the parent's ring. Again is harmless. */
void uring_abandon(Uring *ring);
/* A new ring in place of the old one, of which only operations survive: those that the kernel has not
   heard of move (those that it has are lost). Nothing that was polled is polled. 0 or a negative
   errno. */
int uring_renew(Uring *ring);
/* Enters the kernel: submits what is queued, and waits for `least` completions, at most timeout_ns
   (-1: for ever). The first call makes the calling thread the ring's own. 0 or a negative errno:
   -EEXIST where the ring is another thread's, or -EAGAIN, -EBUSY, -ENOMEM where it may be tried
   again; a signal or the timeout is none. */
int uring_enter(Uring *ring, unsigned least, int64_t timeout_ns);
/* Takes one completion off the queue; false: there is none. */
bool uring_next(Uring *ring, UringCqe *cqe);
/* Takes one operation that ended with an earlier ring; NULL: there is none. */
UringOp *uring_next_finished(Uring *ring);
/* When the loop stops running: ends all operations, whose results wait for the next run. Cancels those
   that can be; may block, without the GIL. Hands what else is completed to `other`. 0 or a negative
   errno: some are still in flight. */
int uring_finish_all(Uring *ring, void (*other)(void *arg, const UringCqe *cqe), void *arg);
/* Ends all operations and polls; to be called before uring_destroy(), without the GIL where it may block. */
void uring_quiesce(Uring *ring);
/* Calls `done` of all operations and frees the ring. */
void uring_destroy(Uring *ring);

#endif
