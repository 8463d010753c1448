/* uring_abi.h: the part of the kernel's io_uring ABI that is used here, under names of our own.
 *
 * The kernel headers may be older than the running kernel and lack definitions; the oldest have none.
 */
#ifndef FASTAIO_URING_ABI_H
#define FASTAIO_URING_ABI_H

#include <stdint.h>
#include <sys/syscall.h>

/* The same on every architecture but alpha. */
#ifdef SYS_io_uring_setup
#define URING_SYS_SETUP    SYS_io_uring_setup
#define URING_SYS_ENTER    SYS_io_uring_enter
#define URING_SYS_REGISTER SYS_io_uring_register
#else
#define URING_SYS_SETUP    425
#define URING_SYS_ENTER    426
#define URING_SYS_REGISTER 427
#endif

/* A request. In other headers `op_flags` is called rw_flags, open_flags, statx_flags, poll32_events and so
   on; `off` is also called addr2. */
typedef struct {
    uint8_t opcode;
    uint8_t flags;
    uint16_t ioprio;
    int32_t fd;
    uint64_t off;
    uint64_t addr;
    uint32_t len;
    uint32_t op_flags;
    uint64_t user_data;
    uint16_t buf_index;
    uint16_t personality;
    uint32_t file_index;
    uint64_t addr3;
    uint64_t reserved;
} UringSqe;

/* A completion. */
typedef struct {
    uint64_t user_data;
    int32_t res;
    uint32_t flags;
} UringCqe;

typedef struct {
    uint32_t head, tail, ring_mask, ring_entries, flags, dropped, array, reserved;
    uint64_t user_addr;
} UringSqOffsets;

typedef struct {
    uint32_t head, tail, ring_mask, ring_entries, overflow, cqes, flags, reserved;
    uint64_t user_addr;
} UringCqOffsets;

typedef struct {
    uint32_t sq_entries, cq_entries, flags, sq_thread_cpu, sq_thread_idle, features, wq_fd;
    uint32_t reserved[3];
    UringSqOffsets sq_off;
    UringCqOffsets cq_off;
} UringParams;

/* The argument of io_uring_enter() with URING_ENTER_EXT_ARG. */
typedef struct {
    uint64_t sigmask;
    uint32_t sigmask_size;
    uint32_t min_wait_us;
    uint64_t timeout; /* address of a UringTimespec, or 0 */
} UringEnterArg;

typedef struct {
    int64_t sec;
    int64_t nsec;
} UringTimespec;

typedef struct {
    uint8_t opcode;
    uint8_t reserved;
    uint16_t flags; /* 1: supported */
    uint32_t reserved2;
} UringProbeOp;

typedef struct {
    uint8_t last_op;
    uint8_t ops_len;
    uint16_t reserved;
    uint32_t reserved2[3];
    UringProbeOp ops[256];
} UringProbe;

_Static_assert(sizeof(UringSqe) == 64 && sizeof(UringCqe) == 16, "as the kernel has them");
_Static_assert(sizeof(UringParams) == 120 && sizeof(UringEnterArg) == 24, "as the kernel has them");

/* The opcodes that C uses; files/_functions.py names more. */
enum {
    URING_OP_NOP = 0,
    URING_OP_WRITEV = 2,
    URING_OP_FSYNC = 3,
    URING_OP_POLL_ADD = 6,
    URING_OP_ASYNC_CANCEL = 14,
    URING_OP_STATX = 21,
    URING_OP_READ = 22,
    URING_OP_WRITE = 23,
};

/* UringSqe.flags */
#define URING_SQE_LINK             (1u << 2)
#define URING_SQE_ASYNC            (1u << 4)
#define URING_SQE_CQE_SKIP_SUCCESS (1u << 6)

/* UringCqe.flags */
#define URING_CQE_MORE (1u << 1)

/* set-up: flags and features */
#define URING_SETUP_CQSIZE        (1u << 3)
#define URING_SETUP_R_DISABLED    (1u << 6)
#define URING_SETUP_SUBMIT_ALL    (1u << 7)
#define URING_SETUP_TASKRUN_FLAG  (1u << 9)
#define URING_SETUP_SINGLE_ISSUER (1u << 12)
#define URING_SETUP_DEFER_TASKRUN (1u << 13)
#define URING_FEAT_SINGLE_MMAP    (1u << 0)
#define URING_FEAT_NODROP         (1u << 1)
#define URING_FEAT_EXT_ARG        (1u << 8)
#define URING_FEAT_CQE_SKIP       (1u << 11)
#define URING_FEAT_NO_IOWAIT      (1u << 17)

/* the flags of the submission ring */
#define URING_SQ_CQ_OVERFLOW (1u << 1)
#define URING_SQ_TASKRUN     (1u << 2)

/* enter */
#define URING_ENTER_GETEVENTS (1u << 0)
#define URING_ENTER_EXT_ARG   (1u << 3)
#define URING_ENTER_NO_IOWAIT (1u << 7)

/* register */
#define URING_REGISTER_PROBE     8
#define URING_REGISTER_ENABLE    12

/* offsets of the mappings in the descriptor */
#define URING_OFF_RINGS UINT64_C(0)
#define URING_OFF_SQES  UINT64_C(0x10000000)

/* flags of single requests */
#define URING_POLL_MULTI     (1u << 0) /* in len */
#define URING_CANCEL_ALL     (1u << 0) /* in op_flags, as the next */
#define URING_CANCEL_ANY     (1u << 2)

#endif
