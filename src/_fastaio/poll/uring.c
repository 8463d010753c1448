/* uring.c: the ring: set-up, the two queues, operations, the end.
 *
 * A ring is made disabled, and belongs to the thread that first enters the kernel with it. Only that
 * thread may submit, and completions are delivered only when it enters (DEFER_TASKRUN). Another thread
 * needs uring_renew().
 *
 * A forked child gets no mapping of a ring, and the page that `here` points to reads as zero there, so
 * uring_is_ours() is false.
 */
#include "poll/uring.h"

#include "poll/uring_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SQ_ENTRIES 256
#define CQ_ENTRIES 4096
#define PAGE       4096
#define NS_PER_S   INT64_C(1000000000)
/* Longer waits are cut to a day; the caller waits again. */
#define LONGEST_NS (INT64_C(86400) * NS_PER_S)
/* Required features. Linux 6.1 has all of them. */
#define SETUP_FLAGS                                                                                \
    (URING_SETUP_CQSIZE | URING_SETUP_R_DISABLED | URING_SETUP_SUBMIT_ALL |                        \
     URING_SETUP_TASKRUN_FLAG | URING_SETUP_SINGLE_ISSUER | URING_SETUP_DEFER_TASKRUN)
#define FEATURES                                                                                   \
    (URING_FEAT_SINGLE_MMAP | URING_FEAT_NODROP | URING_FEAT_EXT_ARG | URING_FEAT_CQE_SKIP)

/* ---- system calls ---------------------------------------------------------------------------- */

/* Return 0; or the negative errno that a test has asked for in place of the call. */
static inline int
fault(Uring *ring, FaultKind kind)
{
#ifndef NDEBUG
    Fault *planned = &ring->faults[kind];
    if (planned->times > 0) {
        planned->times--;
        return -planned->error;
    }
#endif
    (void)ring;
    (void)kind;
    return 0;
}

/* Return the number, or the limit that a test has asked for if that is smaller. */
static inline uint32_t
limited(Uring *ring, FaultKind kind, uint32_t number)
{
#ifndef NDEBUG
    Fault *planned = &ring->faults[kind];
    if (planned->times > 0) {
        planned->times--;
        return number < (uint32_t)planned->error ? number : (uint32_t)planned->error;
    }
#endif
    (void)ring;
    (void)kind;
    return number;
}

static int
call_setup(Uring *ring, UringParams *params)
{
    int rc = fault(ring, FAULT_SETUP);
    if (rc == 0) {
        rc = (int)syscall(URING_SYS_SETUP, SQ_ENTRIES, params);
        rc = rc < 0 ? -errno : rc;
    }
    return rc;
}

static int
call_enter(Uring *ring, uint32_t submit, unsigned least, unsigned flags, const void *arg,
           size_t size)
{
    int rc = fault(ring, FAULT_ENTER);
    if (rc == 0) {
        submit = limited(ring, FAULT_SUBMIT, submit);
        rc = (int)syscall(URING_SYS_ENTER, ring->fd, submit, least, flags, arg, size);
        rc = rc < 0 ? -errno : rc;
    }
    return rc;
}

static int
call_register(Uring *ring, unsigned what, void *arg, unsigned count)
{
    int rc = fault(ring, FAULT_REGISTER);
    if (rc == 0) {
        rc = (int)syscall(URING_SYS_REGISTER, ring->fd, what, arg, count);
        rc = rc < 0 ? -errno : rc;
    }
    return rc;
}

/* ---- set-up ---------------------------------------------------------------------------------- */

static void
unmap(Uring *ring)
{
    if (ring->rings != NULL) {
        munmap(ring->rings, ring->rings_size);
    }
    if (ring->sqes != NULL) {
        munmap(ring->sqes, ring->sqes_size);
    }
    ring->rings = NULL;
    ring->sqes = NULL;
}

static void
close_ring(Uring *ring)
{
    if (ring->fd >= 0) {
        close(ring->fd);
    }
    ring->fd = -1;
    unmap(ring);
}

/* Map a part of the ring. A forked child does not inherit the mapping, which would keep the parent's ring
   alive. Return 0 or a negative errno. */
static int
map(int fd, uint64_t offset, size_t size, void **mapping)
{
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd,
                    (off_t)offset);
    if (at == MAP_FAILED) {
        return -errno;
    }
    if (madvise(at, size, MADV_DONTFORK) < 0) {
        int rc = -errno;
        munmap(at, size);
        return rc;
    }
    *mapping = at;
    return 0;
}

/* Set the pointers into the mapped queues. */
static void
find_queues(Uring *ring, const UringParams *params)
{
    char *base = ring->rings;
    ring->sq_head = (_Atomic uint32_t *)(base + params->sq_off.head);
    ring->sq_tail = (_Atomic uint32_t *)(base + params->sq_off.tail);
    ring->sq_flags = (_Atomic uint32_t *)(base + params->sq_off.flags);
    ring->sq_mask = params->sq_entries - 1;
    ring->sq_entries = params->sq_entries;
    ring->sqe_tail = atomic_load(ring->sq_tail);
    ring->cq_head = (_Atomic uint32_t *)(base + params->cq_off.head);
    ring->cq_tail = (_Atomic uint32_t *)(base + params->cq_off.tail);
    ring->cqes = (UringCqe *)(base + params->cq_off.cqes);
    ring->cq_mask = params->cq_entries - 1;
    /* The kernel looks up requests through an array of indices; ours never changes. */
    uint32_t *array = (uint32_t *)(base + params->sq_off.array);
    for (uint32_t i = 0; i < params->sq_entries; i++) {
        array[i] = i;
    }
}

/* Make and map a ring, and fill in the fields that depend on it. Return 0 or a negative errno. */
static int
open_ring(Uring *ring)
{
    UringParams params = {.flags = SETUP_FLAGS,
                          .cq_entries = limited(ring, FAULT_QUEUE, CQ_ENTRIES)};
    ring->rings = NULL;
    ring->sqes = NULL;
    ring->enabled = false;
    ring->fd = call_setup(ring, &params); /* the kernel makes it close-on-exec */
    if (ring->fd < 0) {
        int rc = ring->fd;
        ring->fd = -1;
        return rc;
    }
    int rc = (params.features & FEATURES) == FEATURES ? 0 : -EINVAL;
    ring->features = params.features;
    size_t submissions = params.sq_off.array + params.sq_entries * sizeof(uint32_t);
    size_t completions = params.cq_off.cqes + params.cq_entries * sizeof(UringCqe);
    ring->rings_size = submissions > completions ? submissions : completions;
    ring->sqes_size = params.sq_entries * sizeof(UringSqe);
    if (rc == 0) {
        rc = map(ring->fd, URING_OFF_RINGS, ring->rings_size, &ring->rings);
    }
    if (rc == 0) {
        void *sqes = NULL;
        rc = map(ring->fd, URING_OFF_SQES, ring->sqes_size, &sqes);
        ring->sqes = sqes;
    }
    if (rc < 0) {
        close_ring(ring);
        return rc;
    }
    find_queues(ring, &params);
    return 0;
}

/* Make the page that tells this process from a forked child. Return 0 or a negative errno. */
static int
mark_as_ours(Uring *ring)
{
    void *page =
        mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
        return -errno;
    }
    if (madvise(page, PAGE, MADV_WIPEONFORK) < 0) {
        int rc = -errno;
        munmap(page, PAGE);
        return rc;
    }
    ring->here = page;
    *ring->here = true;
    return 0;
}

static void
free_ring(Uring *ring)
{
    if (ring->here != NULL) {
        munmap(ring->here, PAGE);
    }
    free(ring->probe);
    free(ring);
}

Uring *
uring_create(int *error)
{
    Uring *ring = calloc(1, sizeof(*ring));
    if (ring == NULL) {
        *error = ENOMEM;
        return NULL;
    }
    ring->fd = -1;
    int rc = mark_as_ours(ring);
    if (rc == 0) {
        rc = open_ring(ring);
    }
    if (rc < 0) {
        *error = -rc;
        free_ring(ring);
        return NULL;
    }
    return ring;
}

/* ---- the two queues -------------------------------------------------------------------------- */

int
uring_enter(Uring *ring, unsigned least, int64_t timeout_ns)
{
    if (ring->fd < 0) {
        return -EBADF;
    }
    if (!ring->enabled) {
        int rc = call_register(ring, URING_REGISTER_ENABLE, NULL, 0);
        if (rc < 0) {
            return rc;
        }
        ring->enabled = true;
        ring->owner = pthread_self();
    }
    atomic_store_explicit(ring->sq_tail, ring->sqe_tail, memory_order_release);
    unsigned flags = URING_ENTER_GETEVENTS;
    int rc;
    if (least == 0) {
        rc = call_enter(ring, uring_queued(ring), 0, flags, NULL, 0);
    }
    else {
        UringTimespec timeout;
        UringEnterArg arg = {0};
        if (timeout_ns >= 0) {
            timeout_ns = timeout_ns < LONGEST_NS ? timeout_ns : LONGEST_NS;
            timeout = (UringTimespec){timeout_ns / NS_PER_S, timeout_ns % NS_PER_S};
            arg.timeout = (uintptr_t)&timeout;
        }
        flags |= URING_ENTER_EXT_ARG;
        if (ring->features & URING_FEAT_NO_IOWAIT) {
            flags |= URING_ENTER_NO_IOWAIT; /* do not count the wait for a peer as a wait for a disk */
        }
        rc = call_enter(ring, uring_queued(ring), least, flags, &arg, sizeof(arg));
    }
    return rc >= 0 || rc == -EINTR || rc == -ETIME ? 0 : rc;
}

bool
uring_next(Uring *ring, UringCqe *cqe)
{
    uint32_t head = atomic_load_explicit(ring->cq_head, memory_order_relaxed);
    if (head == atomic_load_explicit(ring->cq_tail, memory_order_acquire)) {
        return false;
    }
    *cqe = ring->cqes[head & ring->cq_mask];
    atomic_store_explicit(ring->cq_head, head + 1, memory_order_release);
    return true;
}

int
uring_reserve(Uring *ring, unsigned count)
{
    while (ring->fd >= 0 && ring->sq_entries - uring_queued(ring) < count) {
        uint32_t before = uring_queued(ring);
        if (count > ring->sq_entries) {
            return -EINVAL;
        }
        int rc = uring_enter(ring, 0, 0);
        if (rc == -EEXIST) {
            rc = uring_renew(ring);
        }
        if (rc < 0) {
            return rc;
        }
        if (uring_queued(ring) == before) {
            return -EAGAIN;
        }
    }
    return ring->fd >= 0 ? 0 : -EBADF;
}

UringSqe *
uring_sqe(Uring *ring)
{
    int rc = uring_reserve(ring, 1);
    if (rc < 0) {
        errno = -rc;
        return NULL;
    }
    UringSqe *sqe = &ring->sqes[ring->sqe_tail & ring->sq_mask];
    memset(sqe, 0, sizeof(*sqe));
    ring->sqe_tail++;
    return sqe;
}

/* ---- operations ------------------------------------------------------------------------------ */

static void
op_link(UringOp **list, UringOp *op)
{
    op->next = *list;
    op->link = list;
    if (op->next != NULL) {
        op->next->link = &op->next;
    }
    *list = op;
}

static void
op_unlink(UringOp *op)
{
    *op->link = op->next;
    if (op->next != NULL) {
        op->next->link = op->link;
    }
    op->next = NULL;
    op->link = NULL;
}

void
uring_submit(Uring *ring, UringSqe *sqe, UringOp *op)
{
    sqe->user_data = (uintptr_t)op;
    op->finished = op->lost = false;
    op_link(&ring->in_flight, op);
    ring->count++;
}

int
uring_cancel(Uring *ring, UringOp *op)
{
    if (!uring_in_flight(op) || op->finished) {
        return 0;
    }
    UringSqe *sqe = uring_sqe(ring);
    if (sqe == NULL) {
        return -errno;
    }
    sqe->opcode = URING_OP_ASYNC_CANCEL;
    sqe->flags = URING_SQE_CQE_SKIP_SUCCESS;
    sqe->fd = -1;
    sqe->addr = (uintptr_t)op;
    return 0;
}

unsigned
uring_count(const Uring *ring)
{
    return ring->count;
}

bool
uring_supports(Uring *ring, unsigned opcode)
{
    if (ring->probe == NULL) {
        ring->probe = calloc(1, sizeof(*ring->probe));
        if (ring->probe == NULL || ring->fd < 0 ||
            call_register(ring, URING_REGISTER_PROBE, ring->probe, 256) < 0) {
            free(ring->probe);
            ring->probe = NULL;
            return false;
        }
    }
    return opcode < 256 && (ring->probe->ops[opcode].flags & 1);
}

UringOp *
uring_next_finished(Uring *ring)
{
    UringOp *op = ring->finished;
    if (op != NULL) {
        op_unlink(op);
        op_link(&ring->in_flight, op);
    }
    return op;
}

void
uring_deliver(Uring *ring, UringOp *op, int32_t result, bool more)
{
    unsigned flags = more ? URING_MORE : 0;
    if (!more) {
        flags |= op->lost ? URING_LOST : 0;
        op_unlink(op);
        ring->count--;
    }
    op->done(op, result, flags);
}

/* ---- the end of a ring ----------------------------------------------------------------------- */

static UringOp *
op_of(uint64_t user_data)
{
    return (user_data & TAG_MASK) == TAG_OPERATION ? (UringOp *)(uintptr_t)user_data : NULL;
}

/* Note the result of an operation that the kernel no longer has. */
static void
op_finish(UringOp *op, int32_t result)
{
    op->finished = true;
    op->result = result;
}

static void
note_completion(const UringCqe *cqe)
{
    UringOp *op = op_of(cqe->user_data);
    if (op != NULL && !(cqe->flags & URING_CQE_MORE)) {
        op_finish(op, cqe->res);
    }
}

/* Note the results of operations that the kernel has completed. */
static void
note_completions(Uring *ring)
{
    UringCqe cqe;
    while (uring_next(ring, &cqe)) {
        note_completion(&cqe);
    }
}

static bool
all_finished(const Uring *ring)
{
    for (const UringOp *op = ring->in_flight; op != NULL; op = op->next) {
        if (!op->finished) {
            return false;
        }
    }
    return true;
}

/* Mark the operations that the kernel still has as lost: this thread cannot enter the ring, so their results
   never arrive. A run ends all its operations (uring_finish_all()), so this happens only if a loop is
   abandoned in the middle of a run. */
static void
lose_unfinished(Uring *ring)
{
    note_completions(ring);
    for (UringOp *op = ring->in_flight; op != NULL; op = op->next) {
        if (!op->finished) {
            op_finish(op, -EIO);
            op->lost = true;
        }
    }
}

/* Return true for a request that arms or cancels a poll. */
static bool
is_poll(const UringSqe *sqe)
{
    return sqe->opcode == URING_OP_POLL_ADD ||
           (sqe->opcode == URING_OP_ASYNC_CANCEL && (sqe->addr & TAG_MASK) != TAG_OPERATION);
}

/* Take requests that have not been submitted off the queue. Copy all but polls to `kept`, unless that is
   NULL, and mark operations among them as finished: the kernel does not know them. Return the number
   kept. */
static uint32_t
take_back(Uring *ring, UringSqe *kept)
{
    uint32_t count = 0;
    uint32_t head = ring->sqe_tail - uring_queued(ring);
    for (uint32_t at = head; at != ring->sqe_tail; at++) {
        const UringSqe *sqe = &ring->sqes[at & ring->sq_mask];
        if (is_poll(sqe)) {
            continue;
        }
        if (op_of(sqe->user_data) != NULL) {
            op_finish(op_of(sqe->user_data), -ECANCELED);
        }
        if (kept != NULL) {
            kept[count] = *sqe;
        }
        count++;
    }
    ring->sqe_tail = head;
    return count;
}

/* Move operations that have ended from `in_flight` to `finished`. */
static void
set_finished_aside(Uring *ring)
{
    for (UringOp *op = ring->in_flight, *next; op != NULL; op = next) {
        next = op->next;
        if (op->finished) {
            op_unlink(op);
            op_link(&ring->finished, op);
        }
    }
}

int
uring_renew(Uring *ring)
{
    UringSqe *kept = malloc(ring->sqes_size);
    if (kept == NULL) {
        return -ENOMEM;
    }
    Uring fresh = *ring;
    int rc = open_ring(&fresh);
    if (rc < 0) {
#ifndef NDEBUG
        memcpy(ring->faults, fresh.faults, sizeof(ring->faults));
#endif
        free(kept);
        return rc;
    }
    uint32_t count = 0;
    if (ring->fd >= 0) {
        count = take_back(ring, kept);
        lose_unfinished(ring);
        close_ring(ring);
    }
    fresh.in_flight = ring->in_flight;
    fresh.finished = ring->finished;
    fresh.renewals = ring->renewals + 1;
    *ring = fresh;
    if (ring->in_flight != NULL) {
        ring->in_flight->link = &ring->in_flight;
    }
    if (ring->finished != NULL) {
        ring->finished->link = &ring->finished;
    }
    for (uint32_t i = 0; i < count; i++) {
        ring->sqes[ring->sqe_tail++ & ring->sq_mask] = kept[i];
        UringOp *op = op_of(kept[i].user_data);
        if (op != NULL) {
            op->finished = false;
        }
    }
    free(kept);
    set_finished_aside(ring);
    return 0;
}

int
uring_finish_all(Uring *ring, void (*other)(void *arg, const UringCqe *cqe), void *arg)
{
    int rc = 0;
    for (UringOp *op = ring->in_flight; op != NULL && rc == 0; op = op->next) {
        rc = uring_cancel(ring, op);
    }
    while (rc == 0 && !all_finished(ring)) {
        UringCqe cqe;
        rc = uring_enter(ring, 1, -1);
        while (uring_next(ring, &cqe)) {
            note_completion(&cqe);
            if (cqe.user_data & TAG_MASK) {
                other(arg, &cqe);
            }
        }
    }
    set_finished_aside(ring);
    return rc;
}

/* Cancel all requests, polls included, and wait for their end: closing a ring with requests in it would
   interrupt a later system call of this thread. Return false if the ring is not this thread's. */
static bool
cancel_all(Uring *ring)
{
    UringSqe *sqe = uring_sqe(ring);
    if (sqe == NULL) {
        return false;
    }
    sqe->opcode = URING_OP_ASYNC_CANCEL;
    sqe->fd = -1;
    sqe->op_flags = URING_CANCEL_ALL | URING_CANCEL_ANY;
    int rc = uring_enter(ring, 0, 0);
    note_completions(ring);
    while (rc >= 0 && (uring_owes(ring) || !all_finished(ring))) {
        rc = uring_enter(ring, uring_owes(ring) ? 0 : 1, -1);
        note_completions(ring);
    }
    return rc >= 0;
}

void
uring_quiesce(Uring *ring)
{
    if (!uring_is_ours(ring) || ring->fd < 0) {
        return;
    }
    (void)take_back(ring, NULL);
    bool mine = ring->enabled && pthread_equal(ring->owner, pthread_self());
    if (mine && cancel_all(ring)) {
        return;
    }
    (void)take_back(ring, NULL);
    lose_unfinished(ring);
}

void
uring_abandon(Uring *ring)
{
    if (ring->fd >= 0) {
        close(ring->fd);
    }
    ring->fd = -1;
    ring->rings = NULL;
    ring->sqes = NULL;
    ring->in_flight = NULL;
    ring->finished = NULL;
    ring->count = 0;
    *ring->here = true;
}

void
uring_destroy(Uring *ring)
{
    if (!uring_is_ours(ring)) {
        uring_abandon(ring);
    }
    uring_quiesce(ring);
    set_finished_aside(ring);
    while (ring->finished != NULL) {
        UringOp *op = ring->finished;
        unsigned flags = URING_CLOSING | (op->lost ? URING_LOST : 0);
        op_unlink(op);
        ring->count--;
        op->done(op, op->result, flags);
    }
    close_ring(ring);
    free_ring(ring);
}
