/* uring_impl.h: the struct of a ring, and the functions for its poller: uring.c and uring_poll*.c only. */
#ifndef FASTAIO_URING_IMPL_H
#define FASTAIO_URING_IMPL_H

#include "poll/uring_abi.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct Uring Uring;     /* uring.h */
typedef struct UringOp UringOp; /* uring.h */

/* The last three bits of user_data are the kind of a completion. */
#define TAG_MASK      UINT64_C(7)
#define TAG_OPERATION UINT64_C(0) /* the address of a UringOp; 0: of a request without one */
#define TAG_POLL      UINT64_C(1) /* this bit: serial << 32 | fd << 1 | 1 */
#define TAG_WAKE      UINT64_C(2) /* serial << 32 | 2 */
#define TAG_EPOLL     UINT64_C(4) /* serial << 32 | 4 */

/* Faults that tests inject in builds with assertions: the next calls of a kind fail. */
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
    bool enabled;    /* `owner` has entered the ring */
    pthread_t owner; /* the only thread that may enter the ring */
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

    bool *here;        /* true, on a page that the kernel wipes in a forked child */
    unsigned renewals; /* the number of rings before this one */
    UringOp *in_flight;
    UringOp *finished; /* ended with an earlier ring, not reported yet */
    unsigned count;    /* of operations in both lists */
    UringProbe *probe; /* NULL: not asked for yet */
#ifndef NDEBUG
    Fault faults[FAULT_KINDS];
#endif
};

/* Return true if this process made the ring. A forked child must not touch its copy. */
static inline bool
uring_is_ours(const Uring *ring)
{
    return *ring->here;
}

/* Return the number of requests that have not been submitted yet. */
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

/* Return true if the kernel has completions that it delivers when it is entered. */
static inline bool
uring_owes(const Uring *ring)
{
    return (atomic_load_explicit(ring->sq_flags, memory_order_relaxed) &
            (URING_SQ_TASKRUN | URING_SQ_CQ_OVERFLOW)) != 0;
}

/* Return true if there is nothing to submit and nothing to collect. Makes no system call. */
static inline bool
uring_is_idle(const Uring *ring)
{
    return !uring_has_completions(ring) && !uring_owes(ring) && uring_queued(ring) == 0 &&
           ring->finished == NULL;
}

/* Return a ring that is not enabled yet; NULL with *error set to an errno. */
Uring *uring_create(int *error);
/* Drop a forked child's copy of the parent's ring. Harmless when repeated. */
void uring_abandon(Uring *ring);
/* Replace the ring by a new one, without polls. Operations that have not been submitted move to the new
   ring; submitted ones are lost. Return 0 or a negative errno. */
int uring_renew(Uring *ring);
/* Enter the kernel: submit queued requests, and wait for `least` completions, at most timeout_ns (-1:
   without a limit). The first call makes the calling thread the owner of the ring. Return 0, also after a
   signal or the timeout; -EEXIST if another thread owns the ring; -EAGAIN, -EBUSY or -ENOMEM if it may
   be tried again; or another negative errno. */
int uring_enter(Uring *ring, unsigned least, int64_t timeout_ns);
/* Take one completion off the queue. Return false if there is none. */
bool uring_next(Uring *ring, UringCqe *cqe);
/* Take one operation that ended with an earlier ring; NULL if there is none. */
UringOp *uring_next_finished(Uring *ring);
/* End all operations when a run ends; the next run reports their results. Cancels what can be cancelled and
   waits for the rest: called without the GIL. Other completions go to other(arg, cqe). Return 0, or a
   negative errno if operations are still in flight. */
int uring_finish_all(Uring *ring, void (*other)(void *arg, const UringCqe *cqe), void *arg);
/* End all operations and polls, before uring_destroy(). May block: called without the GIL. */
void uring_quiesce(Uring *ring);
/* Call `done` of all operations and free the ring. */
void uring_destroy(Uring *ring);

#endif
