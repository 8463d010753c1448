/* What no file API can pass: plain system calls, and a bare io_uring.
 *
 *     file_limit MODE PATH OPERATIONS DEPTH SIZE
 *
 * MODE: pread, ring (random reads of SIZE bytes), read, write (in sequence, SIZE bytes each), small
 * (open, fstat, read and close the files PATH/0 ... PATH/DEPTH-1, in turn).
 * Prints CPU and wall seconds for each operation. Maps the ring as the kernel documents it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void
check(int ok, const char *what)
{
    if (!ok) {
        perror(what);
        exit(1);
    }
}

static double
seconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static uint64_t
next_random(void)
{
    static uint64_t state = 88172645463325252u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static off_t
random_offset(off_t length, size_t size)
{
    return (off_t)(next_random() % (uint64_t)(length / (off_t)size)) * (off_t)size;
}

static void
run_pread(int fd, long count, size_t size, off_t length)
{
    char *buffer = malloc(size);
    check(buffer != NULL, "malloc");
    for (long i = 0; i < count; i++) {
        check(pread(fd, buffer, size, random_offset(length, size)) == (ssize_t)size, "pread");
    }
    free(buffer);
}

/* As deep as asked for: all are submitted and waited for in one call, then the next. */
static void
run_ring(int fd, long count, unsigned depth, size_t size, off_t length)
{
    struct io_uring_params params = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN};
    int ring = (int)syscall(SYS_io_uring_setup, depth, &params);
    check(ring >= 0, "io_uring_setup");
    size_t sq_size = params.sq_off.array + params.sq_entries * sizeof(unsigned);
    size_t cq_size = params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe);
    size_t rings = sq_size > cq_size ? sq_size : cq_size;
    char *base = mmap(NULL, rings, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring,
                      IORING_OFF_SQ_RING);
    struct io_uring_sqe *sqes = mmap(NULL, params.sq_entries * sizeof(*sqes),
                                     PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring,
                                     IORING_OFF_SQES);
    check(base != MAP_FAILED && sqes != MAP_FAILED, "mmap");
    _Atomic unsigned *sq_tail = (_Atomic unsigned *)(base + params.sq_off.tail);
    unsigned sq_mask = *(unsigned *)(base + params.sq_off.ring_mask);
    unsigned *array = (unsigned *)(base + params.sq_off.array);
    _Atomic unsigned *cq_head = (_Atomic unsigned *)(base + params.cq_off.head);
    _Atomic unsigned *cq_tail = (_Atomic unsigned *)(base + params.cq_off.tail);
    unsigned cq_mask = *(unsigned *)(base + params.cq_off.ring_mask);
    struct io_uring_cqe *cqes = (struct io_uring_cqe *)(base + params.cq_off.cqes);
    char *buffers = malloc(depth * size);
    check(buffers != NULL, "malloc");
    for (long done = 0; done < count; done += depth) {
        unsigned tail = atomic_load(sq_tail);
        for (unsigned i = 0; i < depth; i++) {
            unsigned slot = (tail + i) & sq_mask;
            sqes[slot] = (struct io_uring_sqe){.opcode = IORING_OP_READ,
                                               .fd = fd,
                                               .addr = (uint64_t)(uintptr_t)(buffers + i * size),
                                               .len = (unsigned)size,
                                               .off = (uint64_t)random_offset(length, size)};
            array[slot] = slot;
        }
        atomic_store(sq_tail, tail + depth);
        check(syscall(SYS_io_uring_enter, ring, depth, depth, IORING_ENTER_GETEVENTS, NULL,
                      (size_t)0) == (long)depth, "io_uring_enter");
        unsigned head = atomic_load(cq_head);
        for (; head != atomic_load(cq_tail); head++) {
            check(cqes[head & cq_mask].res == (int)size, "read");
        }
        atomic_store(cq_head, head);
    }
    free(buffers);
    close(ring);
}

static void
run_sequence(int fd, long count, size_t size, off_t length, int writing)
{
    char *buffer = malloc(size);
    check(buffer != NULL, "malloc");
    memset(buffer, 'x', size);
    off_t at = length;
    for (long i = 0; i < count; i++) {
        if (at + (off_t)size > length) {
            at = lseek(fd, 0, SEEK_SET);
        }
        ssize_t moved = writing ? write(fd, buffer, size) : read(fd, buffer, size);
        check(moved == (ssize_t)size, "read or write");
        at += moved;
    }
    free(buffer);
}

static void
run_small(const char *folder, long count, unsigned files)
{
    char path[4096], buffer[65536];
    struct stat st;
    for (long i = 0; i < count; i++) {
        snprintf(path, sizeof(path), "%s/%ld", folder, i % files);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        check(fd >= 0 && fstat(fd, &st) == 0, path);
        check(read(fd, buffer, sizeof(buffer)) == st.st_size, "read");
        close(fd);
    }
}

int
main(int argc, char **argv)
{
    if (argc != 6) {
        fprintf(stderr, "usage: file_limit MODE PATH OPERATIONS DEPTH SIZE\n");
        return 2;
    }
    const char *mode = argv[1], *path = argv[2];
    long count = atol(argv[3]);
    unsigned depth = (unsigned)atoi(argv[4]);
    size_t size = (size_t)atol(argv[5]);
    int small = strcmp(mode, "small") == 0, fd = -1;
    struct stat st = {0};
    if (!small) {
        fd = open(path, O_RDWR | O_CLOEXEC);
        check(fd >= 0 && fstat(fd, &st) == 0, path);
    }
    double cpu = seconds(CLOCK_PROCESS_CPUTIME_ID), wall = seconds(CLOCK_MONOTONIC);
    if (small) {
        run_small(path, count, depth);
    }
    else if (strcmp(mode, "pread") == 0) {
        run_pread(fd, count, size, st.st_size);
    }
    else if (strcmp(mode, "ring") == 0) {
        run_ring(fd, count, depth, size, st.st_size);
    }
    else {
        run_sequence(fd, count, size, st.st_size, strcmp(mode, "write") == 0);
    }
    printf("%.12f %.12f\n", (seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu) / (double)count,
           (seconds(CLOCK_MONOTONIC) - wall) / (double)count);
    return 0;
}
