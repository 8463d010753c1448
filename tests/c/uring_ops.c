/* uring_ops.c: operations on a ring by themselves, without Python: one case per run, named by argv[1].
 *
 * Built with uring.c, assertions and sanitizers by test_uring_ops.py. Exit status 0: the case holds;
 * 77: there is no io_uring here.
 */
#include "check.h"
#include "poll/uring.h"
#include "poll/uring_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct {
    UringOp op;
    int calls;
    int32_t result;
    uint32_t flags;
    char data[64];
} Test;

static Uring *ring;

static void
done(UringOp *op, int32_t result, uint32_t flags)
{
    Test *test = (Test *)op;
    test->calls++;
    test->result = result;
    test->flags = flags;
}

static void
start(Test *test, int opcode, int fd, unsigned flags)
{
    UringSqe *sqe = uring_sqe(ring);
    CHECK(sqe != NULL);
    sqe->opcode = (uint8_t)opcode;
    sqe->fd = fd;
    sqe->flags = (uint8_t)flags;
    if (opcode == URING_OP_READ || opcode == URING_OP_WRITE) {
        sqe->addr = (uintptr_t)test->data;
        sqe->len = sizeof(test->data);
    }
    test->op.done = done;
    uring_submit(ring, sqe, &test->op);
}

/* What the poller does with completions. */
static void
reap(void)
{
    UringCqe cqe;
    UringOp *op;
    while ((op = uring_next_finished(ring)) != NULL) {
        uring_deliver(ring, op, op->result, false);
    }
    while (uring_next(ring, &cqe)) {
        if (cqe.user_data != 0) {
            uring_deliver(ring, (UringOp *)(uintptr_t)cqe.user_data, cqe.res,
                          cqe.flags & URING_CQE_MORE);
        }
    }
}

static void
settle(void)
{
    reap();
    while (uring_count(ring) > 0) {
        CHECK(uring_enter(ring, 1, INT64_C(10000000000)) == 0);
        reap();
    }
}

static void
ignore(void *arg, const UringCqe *cqe)
{
    (void)cqe;
    ++*(int *)arg;
}

static int
scratch(void)
{
    FILE *file = tmpfile();
    CHECK(file != NULL);
    return dup(fileno(file));
}

static Test tests[1000];

static void
read_and_write(void)
{
    int fd = scratch();
    strcpy(tests[0].data, "written by a ring");
    start(&tests[0], URING_OP_WRITE, fd, 0);
    CHECK(uring_count(ring) == 1 && uring_in_flight(&tests[0].op) && tests[0].calls == 0);
    settle();
    CHECK(tests[0].calls == 1 && tests[0].result == sizeof(tests[0].data) && tests[0].flags == 0);
    CHECK(!uring_in_flight(&tests[0].op));
    start(&tests[1], URING_OP_READ, fd, 0);
    settle();
    CHECK(strcmp(tests[1].data, "written by a ring") == 0);
    start(&tests[1], URING_OP_READ, -1, 0);
    settle();
    CHECK(tests[1].calls == 2 && tests[1].result == -EBADF);
}

static void
a_chain(void)
{
    int fd = scratch();
    for (int i = 0; i < 250; i++) {
        start(&tests[10 + i], URING_OP_NOP, -1, 0);
    }
    CHECK(uring_reserve(ring, 10) == 0); /* there was room for six */
    CHECK(uring_reserve(ring, 100000) == -EINVAL);
    strcpy(tests[0].data, "chained");
    start(&tests[0], URING_OP_WRITE, fd, URING_SQE_LINK);
    start(&tests[1], URING_OP_FSYNC, fd, URING_SQE_LINK);
    start(&tests[2], URING_OP_READ, fd, 0);
    settle();
    CHECK(strcmp(tests[2].data, "chained") == 0 && tests[1].result == 0);
    start(&tests[0], URING_OP_READ, -1, URING_SQE_LINK);
    start(&tests[1], URING_OP_NOP, -1, 0);
    settle();
    CHECK(tests[0].result == -EBADF && tests[1].result == -ECANCELED);
}

static void
more_than_the_queue_holds(void)
{
    for (int i = 0; i < 1000; i++) {
        start(&tests[i], URING_OP_NOP, -1, 0);
    }
    CHECK(uring_count(ring) == 1000);
    settle();
    for (int i = 0; i < 1000; i++) {
        CHECK(tests[i].calls == 1 && tests[i].result == 0);
    }
}

static void
cancelled(void)
{
    int ends[2];
    CHECK(pipe(ends) == 0);
    start(&tests[0], URING_OP_READ, ends[0], 0);
    start(&tests[1], URING_OP_READ, ends[0], URING_SQE_ASYNC);
    CHECK(uring_enter(ring, 0, 0) == 0);
    reap();
    CHECK(uring_count(ring) == 2);
    CHECK(uring_cancel(ring, &tests[0].op) == 0 && uring_cancel(ring, &tests[1].op) == 0);
    settle();
    for (int i = 0; i < 2; i++) {
        CHECK(tests[i].calls == 1 && (tests[i].result == -ECANCELED || tests[i].result == -EINTR));
        CHECK(uring_cancel(ring, &tests[i].op) == 0); /* not in flight: nothing */
    }
    start(&tests[2], URING_OP_READ, ends[0], 0);
    CHECK(uring_cancel(ring, &tests[2].op) == 0); /* before the kernel has heard of it */
    settle();
    CHECK(tests[2].calls == 1 && tests[2].result == -ECANCELED);
}

static void
the_end_of_a_run(void)
{
    int ends[2], others = 0;
    CHECK(pipe(ends) == 0);
    start(&tests[0], URING_OP_READ, ends[0], 0);
    start(&tests[1], URING_OP_NOP, -1, 0);
    UringSqe *sqe = uring_sqe(ring);
    CHECK(sqe != NULL);
    sqe->opcode = URING_OP_NOP;
    sqe->user_data = TAG_WAKE;
    CHECK(uring_finish_all(ring, ignore, &others) == 0);
    CHECK(others == 1 && tests[0].calls == 0 && uring_count(ring) == 2);
    settle();
    CHECK(tests[0].calls == 1 && tests[0].result == -ECANCELED && tests[0].flags == 0);
    CHECK(tests[1].calls == 1 && tests[1].result == 0);
}

static void *
begin_in_thread(void *arg)
{
    const int *ends = arg;
    start(&tests[0], URING_OP_READ, ends[0], 0);
    CHECK(uring_enter(ring, 0, 0) == 0);
    return NULL;
}

static void
another_thread(void)
{
    int ends[2], others = 0;
    pthread_t thread;
    CHECK(pipe(ends) == 0);
    CHECK(pthread_create(&thread, NULL, begin_in_thread, ends) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    start(&tests[1], URING_OP_READ, ends[0], 0); /* not handed over yet: it moves along */
    CHECK(uring_cancel(ring, &tests[2].op) == 0);
    CHECK(uring_enter(ring, 0, 0) == -EEXIST);
    unsigned before = ring->renewals;
    CHECK(uring_renew(ring) == 0 && ring->renewals == before + 1);
    reap();
    /* Nobody will tell what has become of the first: its run should have ended it. */
    CHECK(tests[0].calls == 1 && tests[0].result == -EIO && tests[0].flags == URING_LOST);
    CHECK(tests[1].calls == 0 && uring_count(ring) == 1);
    CHECK(write(ends[1], "moved along", 12) == 12);
    settle();
    CHECK(tests[1].calls == 1 && tests[1].result == 12);
    CHECK(strcmp(tests[1].data, "moved along") == 0);
    CHECK(uring_finish_all(ring, ignore, &others) == 0);
}

static void
destroyed(void)
{
    int ends[2], fd = scratch();
    CHECK(pipe(ends) == 0);
    start(&tests[0], URING_OP_READ, ends[0], 0);
    start(&tests[1], URING_OP_READ, ends[0], URING_SQE_ASYNC);
    CHECK(uring_enter(ring, 0, 0) == 0);
    start(&tests[2], URING_OP_WRITE, fd, 0); /* the kernel never hears of it */
    uring_quiesce(ring);
    CHECK(tests[0].calls == 0);
    uring_destroy(ring);
    ring = NULL;
    for (int i = 0; i < 3; i++) {
        CHECK(tests[i].calls == 1 && tests[i].flags == URING_CLOSING);
        CHECK(tests[i].result == -ECANCELED || tests[i].result == -EINTR);
    }
    CHECK(lseek(fd, 0, SEEK_END) == 0);
    /* Nothing reads from the pipe any more. */
    CHECK(write(ends[1], "x", 1) == 1);
    CHECK(close(ends[1]) == 0 && read(ends[0], tests[0].data, 1) == 1);
}

static void
destroyed_elsewhere(void)
{
    int ends[2];
    pthread_t thread;
    CHECK(pipe(ends) == 0);
    CHECK(pthread_create(&thread, NULL, begin_in_thread, ends) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    uring_destroy(ring);
    ring = NULL;
    CHECK(tests[0].calls == 1 && tests[0].flags == (URING_CLOSING | URING_LOST));
}

static void
forked(void)
{
    int ends[2], status;
    CHECK(pipe(ends) == 0);
    start(&tests[0], URING_OP_READ, ends[0], 0);
    CHECK(uring_enter(ring, 0, 0) == 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        CHECK(!uring_is_ours(ring));
        uring_quiesce(ring);
        uring_abandon(ring);
        CHECK(uring_count(ring) == 0 && uring_sqe(ring) == NULL && errno == EBADF);
        CHECK(uring_renew(ring) == 0);
        start(&tests[1], URING_OP_NOP, -1, 0);
        settle();
        uring_destroy(ring);
        CHECK(tests[0].calls == 0 && tests[1].calls == 1);
        _exit(0);
    }
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    CHECK(uring_is_ours(ring));
    CHECK(write(ends[1], "parent", 7) == 7);
    settle();
    CHECK(tests[0].calls == 1 && strcmp(tests[0].data, "parent") == 0);
}

static void
refused(void)
{
    static const int errors[] = {EAGAIN, EBUSY, ENOMEM};
    CHECK(uring_enter(ring, 0, 0) == 0);
    for (int i = 0; i < 3; i++) {
        while (uring_queued(ring) < ring->sq_entries) {
            start(&tests[uring_count(ring)], URING_OP_NOP, -1, 0);
        }
        ring->faults[FAULT_ENTER] = (Fault){errors[i], 2};
        CHECK(uring_sqe(ring) == NULL && errno == errors[i]);
        CHECK(uring_cancel(ring, &tests[0].op) == -errors[i]);
        ring->faults[FAULT_SUBMIT] = (Fault){0, 1};
        CHECK(uring_sqe(ring) == NULL && errno == EAGAIN);
        settle();
    }
    ring->faults[FAULT_ENTER] = (Fault){EINTR, 3};
    CHECK(uring_enter(ring, 1, -1) == 0);
    ring->faults[FAULT_ENTER] = (Fault){0, 0};
    ring->faults[FAULT_SETUP] = (Fault){ENOMEM, 1};
    start(&tests[0], URING_OP_NOP, -1, 0);
    CHECK(uring_renew(ring) == -ENOMEM); /* all is as before */
    settle();
    ring->faults[FAULT_REGISTER] = (Fault){EPERM, 1};
    CHECK(uring_renew(ring) == 0 && uring_enter(ring, 0, 0) == -EPERM);
    CHECK(uring_enter(ring, 0, 0) == 0);
    ring->faults[FAULT_ENTER] = (Fault){EAGAIN, 1};
    start(&tests[0], URING_OP_NOP, -1, 0);
}

static void
opcodes(void)
{
    ring->faults[FAULT_REGISTER] = (Fault){EPERM, 1};
    CHECK(!uring_supports(ring, URING_OP_READ)); /* it cannot be asked */
    CHECK(uring_supports(ring, URING_OP_READ) && uring_supports(ring, URING_OP_STATX));
    CHECK(!uring_supports(ring, 254) && !uring_supports(ring, 100000));
}

static const Case cases[] = {
    {"read_and_write", read_and_write},
    {"a_chain", a_chain},
    {"more_than_the_queue_holds", more_than_the_queue_holds},
    {"cancelled", cancelled},
    {"the_end_of_a_run", the_end_of_a_run},
    {"another_thread", another_thread},
    {"destroyed", destroyed},
    {"destroyed_elsewhere", destroyed_elsewhere},
    {"forked", forked},
    {"refused", refused},
    {"opcodes", opcodes},
};

int
main(int argc, char **argv)
{
    int error;
    alarm(50);
    ring = uring_create(&error);
    if (ring == NULL) {
        return 77;
    }
    run_case(cases, sizeof(cases) / sizeof(*cases), argc, argv);
    if (ring != NULL) {
        uring_destroy(ring);
    }
    return 0;
}
