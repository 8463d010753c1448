/* uring.h: operations on the io_uring of a poller. It knows no Python object.
 *
 * The ring is loop->poller->ring; NULL if the poller has none. To put an operation in flight:
 *
 *     typedef struct { UringOp op; ...buffers... } Read;      (the owner of the buffers)
 *
 *     UringSqe *sqe = uring_sqe(ring);                        (zeroed; NULL: errno)
 *     sqe->opcode = URING_OP_READ; sqe->fd = ...;
 *     uring_submit(ring, sqe, &read->op);                     (read->op.done is set)
 *
 * The request reaches the kernel with the next poll of the loop, together with all other waiting requests.
 * From uring_submit() until `done` is called, the operation and the memory that its request points to
 * must stay alive and must not move. `done` is always called, whatever happens to loop, ring and
 * thread, except in a forked child, where it never is.
 *
 * A ring belongs to the thread that runs the loop. All functions are called there, with the GIL held,
 * unless their comment says otherwise.
 */
#ifndef FASTAIO_URING_H
#define FASTAIO_URING_H

#include "poll/uring_abi.h"
#include <stdbool.h>
#include <stddef.h>

typedef struct Uring Uring;
typedef struct UringOp UringOp;

/* Flags of `done`.
   URING_MORE: another completion of the same operation follows (multishot).
   URING_CLOSING: the loop is being closed. `done` may free memory, but queue nothing.
   URING_LOST: the kernel may still write to the operation's buffers, which must never be freed. The result
   is -EIO. */
#define URING_MORE    (1u << 0)
#define URING_CLOSING (1u << 1)
#define URING_LOST    (1u << 2)

/* Embedded in the owner of the buffers. */
struct UringOp {
    /* Called with the result of the request (>= 0, or a negative errno) when the loop collects events, before
       anything of that turn runs. It may resolve futures and queue entries, but must not run a user's
       code or leave an exception raised. Without URING_MORE the operation belongs to the caller again,
       which may free it or submit it once more. */
    void (*done)(UringOp *op, int32_t result, uint32_t flags);
    /* The ring's own: */
    UringOp *next;
    UringOp **link; /* the pointer that points to this one; NULL: not in flight */
    int32_t result;
    bool finished; /* the kernel has completed it with `result` */
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
/* Ask the kernel to cancel an operation; harmless when it is not in flight. `done` gets -ECANCELED, or the
   result if the operation was faster. Return 0; or a negative errno if the kernel could not be asked.
   The end of a run also cancels operations. Their `done` is called in the next run, with -ECANCELED; such
   an operation has done nothing and may be submitted again. */
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
