/* uring.h: one io_uring and the operations in flight on it; knows no Python object.
 *
 * A loop whose poller runs on a ring has it as loop->poller->ring (NULL where
 * there is none), for what only a ring can do.  Who wants an operation done:
 *
 *     typedef struct { UringOp op; ...buffers... } Read;      (what owns the buffers)
 *
 *     UringSqe *sqe = uring_sqe(ring);                        (zeroed; NULL: errno)
 *     sqe->opcode = URING_OP_READ; sqe->fd = ...;
 *     uring_submit(ring, sqe, &read->op);                     (read->op.done is set)
 *
 * The kernel hears of it when the loop next asks the kernel, together with all
 * that has been gathered until then.  From uring_submit() until `done` is
 * called, the operation and all that its request points to must stay alive and
 * where they are; that is promised to come, whatever happens to loop, ring and
 * thread, but for a forked child, where it never does.
 *
 * A ring belongs to the thread that runs the loop.  All here is to be called
 * there with the GIL held, except where something else is said.
 */
#ifndef FASTAIO_URING_H
#define FASTAIO_URING_H

#include "poll/uring_abi.h"
#include <stdbool.h>
#include <stddef.h>

typedef struct Uring Uring;
typedef struct UringOp UringOp;

/* Given to `done`: another completion of the same operation follows (multishot); the loop is being
   closed: nothing can be queued there any more, only freed; nobody can tell whether the kernel still
   writes to the operation's buffers: they must never be freed (result -EIO). */
#define URING_MORE    (1u << 0)
#define URING_CLOSING (1u << 1)
#define URING_LOST    (1u << 2)

/* Embedded in the owner of the buffers. */
struct UringOp {
    /* Called with what the request returned (>= 0, or a negative errno), in the turn in which the
       loop hears of it, before anything of that turn runs: it may resolve futures and queue, but
       must not run a user's code. The operation is the caller's again, unless `flags` has
       URING_MORE: it may be freed or submitted once more. No exception may be left raised. */
    void (*done)(UringOp *op, int32_t result, uint32_t flags);
    /* The ring's own: */
    UringOp *next;
    UringOp **link; /* what points to this one; NULL: not in flight */
    int32_t result;
    bool finished; /* the kernel has let go of it, and `result` tells how it ended */
    bool lost;     /* URING_LOST */
};

/* Return a zeroed request. The caller fills in all but user_data and hands it to uring_submit() before it
   asks for the next one. NULL with errno ENOMEM or EAGAIN: the kernel takes none now. */
UringSqe *uring_sqe(Uring *ring);
/* Make room for `count` requests that have to reach the kernel together, as a chain of URING_SQE_LINK
   does. Return 0 or a negative errno. */
int uring_reserve(Uring *ring, unsigned count);
/* Put the operation in flight with the request that has just been filled in. */
void uring_submit(Uring *ring, UringSqe *sqe, UringOp *op);
/* Asks the kernel to give an operation up; harmless when it is not in flight. `done` tells how it
   ended: -ECANCELED, or what it achieved. 0 or a negative errno: it was not asked.
   An operation that nobody has cancelled may end with -ECANCELED too, when its loop stops running
   meanwhile: it has then achieved nothing, and may be submitted again (`done` is called in the next
   run). */
int uring_cancel(Uring *ring, UringOp *op);
static inline bool
uring_in_flight(const UringOp *op)
{
    return op->link != NULL;
}
/* Return the number of operations in flight. */
unsigned uring_count(const Uring *ring);
/* Return true if the kernel knows an opcode. */
bool uring_supports(Uring *ring, unsigned opcode);
/* Call `done` for a completion that the poller has reported. Only the loop calls this. */
void uring_deliver(Uring *ring, UringOp *op, int32_t result, bool more);

#endif
