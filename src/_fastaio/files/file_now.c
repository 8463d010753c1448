/* file_now.c: reads and opens that the kernel's caches answer, in the loop's thread. */
#include "files/file_now.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/kernel.h"

/* Constants of the kernel, whose headers may be older than the kernel itself. */
#define RESOLVE_ONLY_CACHED 0x20
#define MAGIC_TMPFS         0x01021994
#define MAGIC_RAMFS         0x858458f6
/* Network and FUSE file systems: even a cached look-up may block. */
static const uint32_t remote_magics[] = {
    0x6969,     /* NFS */
    0xff534d42, /* CIFS */
    0xfe534d42, /* SMB */
    0x65735546, /* FUSE */
    0x01021997, /* 9P */
    0x00c36400, /* Ceph */
    0x5346414f, /* AFS */
    0x73757245, /* Coda */
};

/* struct open_how */
typedef struct {
    uint64_t flags;
    uint64_t mode;
    uint64_t resolve;
} OpenHow;

/* Return whether the descriptor is a regular file of a file system in memory. Such file systems
   lack RWF_NOWAIT, and their reads never block. */
static bool
is_memory(int fd)
{
    struct statfs fs;
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || fstatfs(fd, &fs) < 0) {
        return false;
    }
    return (uint32_t)fs.f_type == MAGIC_TMPFS || (uint32_t)fs.f_type == MAGIC_RAMFS;
}

/* Copy from the page cache. An offset of -1 is the descriptor's own position. Return the number of
   bytes, 0 at the end of the file, or -1 with errno if the read would block or fails. */
static ssize_t
copy_now(int fd, const struct iovec *part, int64_t offset)
{
    ssize_t got = kernel_preadv2(fd, part, 1, offset, RWF_NOWAIT);
    if (got < 0 && errno == EOPNOTSUPP && is_memory(fd)) {
        got = offset < 0 ? readv(fd, part, 1) : preadv(fd, part, 1, offset);
    }
    return got;
}

/* Copy up to `size` bytes, at most FILE_NOW_MAX, and return like copy_now(). Other threads may run
   while more than FILE_NOW_BRIEF bytes are copied. */
static ssize_t
read_now(int fd, void *buffer, size_t size, int64_t offset)
{
    struct iovec part = {.iov_base = buffer, .iov_len = size < FILE_NOW_MAX ? size : FILE_NOW_MAX};
    ssize_t got;
    if (part.iov_len <= FILE_NOW_BRIEF) {
        return copy_now(fd, &part, offset);
    }
    Py_BEGIN_ALLOW_THREADS
    got = copy_now(fd, &part, offset);
    Py_END_ALLOW_THREADS
    return got;
}

/* Return a Python int as a C int; -1 with TypeError or OverflowError. */
static int
as_int(PyObject *object)
{
    long value = PyLong_AsLong(object);
    if (value < INT_MIN || value > INT_MAX) {
        PyErr_SetString(PyExc_OverflowError, "Python int too large to convert to C int");
        return -1;
    }
    return (int)value;
}

/* Parse the arguments (fd, size or buffer, offset=-1) but for the second. Return 0, or -1 with an
   exception. */
static int
parse_place(const char *name, PyObject *const *args, Py_ssize_t count, int *fd, int64_t *offset)
{
    if (count < 2 || count > 3) {
        PyErr_Format(PyExc_TypeError, "%s() takes 2 or 3 arguments, not %zd", name, count);
        return -1;
    }
    *fd = as_int(args[0]);
    if (*fd == -1 && PyErr_Occurred()) {
        return -1;
    }
    *offset = count == 3 ? PyLong_AsLongLong(args[2]) : -1;
    return *offset == -1 && PyErr_Occurred() ? -1 : 0;
}

static PyObject *
file_read_now(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    int fd;
    int64_t offset;
    if (parse_place("_read_now", args, count, &fd, &offset) < 0) {
        return NULL;
    }
    Py_ssize_t size = PyLong_AsSsize_t(args[1]);
    if (size == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (size < 0) {
        PyErr_SetString(PyExc_ValueError, "negative size");
        return NULL;
    }
    PyObject *data = PyBytes_FromStringAndSize(NULL, size < FILE_NOW_MAX ? size : FILE_NOW_MAX);
    if (data == NULL) {
        return NULL;
    }
    ssize_t got = read_now(fd, PyBytes_AS_STRING(data), (size_t)PyBytes_GET_SIZE(data), offset);
    if (got < 0) {
        Py_DECREF(data);
        Py_RETURN_NONE;
    }
    if (got < PyBytes_GET_SIZE(data)) {
        _PyBytes_Resize(&data, got);
    }
    return data;
}

static PyObject *
file_readinto_now(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    int fd;
    int64_t offset;
    Py_buffer view;
    if (parse_place("_readinto_now", args, count, &fd, &offset) < 0
        || PyObject_GetBuffer(args[1], &view, PyBUF_WRITABLE) < 0) {
        return NULL;
    }
    ssize_t got = read_now(fd, view.buf, (size_t)view.len, offset);
    PyBuffer_Release(&view);
    if (got < 0) {
        Py_RETURN_NONE;
    }
    return PyLong_FromSsize_t(got);
}

/* Open a path if the kernel's cache has all of it. Return the descriptor, or -1 with errno. */
static int
open_cached(const char *path, int flags)
{
    OpenHow how = {.flags = (uint64_t)flags, .resolve = RESOLVE_ONLY_CACHED};
    return (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
}

/* Open a path like open_cached(). O_NONBLOCK is set until the file is open: if a named pipe has
   replaced the file since the look-up, the call does not wait for its other end. */
static int
open_regular(const char *path, int flags)
{
    int fd = open_cached(path, flags | O_NONBLOCK);
    if (fd >= 0 && !(flags & O_NONBLOCK)) {
        int status = fcntl(fd, F_GETFL);
        if (status < 0 || fcntl(fd, F_SETFL, status & ~O_NONBLOCK) < 0) {
            close(fd);
            return -1;
        }
    }
    return fd;
}

/* Return whether the descriptor is of a file system in remote_magics, or of an unknown one. */
static bool
is_remote(int fd)
{
    struct statfs fs;
    if (fstatfs(fd, &fs) < 0) {
        return true;
    }
    for (size_t i = 0; i < sizeof(remote_magics) / sizeof(remote_magics[0]); i++) {
        if ((uint32_t)fs.f_type == remote_magics[i]) {
            return true;
        }
    }
    return false;
}

/* Return a descriptor with O_PATH of a cached path on a local file system, or -1. flags: O_NOFOLLOW
   counts. */
static int
open_path(const char *path, int flags)
{
    int fd = open_cached(path, O_PATH | O_CLOEXEC | (flags & O_NOFOLLOW));
    if (fd >= 0 && is_remote(fd)) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Return the size in bytes of a regular file on a local file system, or -1. (Opening another kind
   of file may block, or have effects.) */
static int64_t
size_of_regular(const char *path)
{
    struct stat st;
    int fd = open_path(path, 0);
    bool regular = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    if (fd >= 0) {
        close(fd);
    }
    return regular ? (int64_t)st.st_size : -1;
}

/* Convert a path to bytes. Return 0, with *path NULL for an object that is no path: the function of
   os that the caller falls back to raises for it. Return -1 with any other exception. */
static int
take_path(PyObject *object, PyObject **path)
{
    *path = NULL;
    if (PyUnicode_FSConverter(object, path)) {
        return 0;
    }
    *path = NULL;
    if (!PyErr_ExceptionMatches(PyExc_TypeError) && !PyErr_ExceptionMatches(PyExc_ValueError)) {
        return -1;
    }
    PyErr_Clear();
    return 0;
}

static PyObject *
file_size_now(PyObject *Py_UNUSED(module), PyObject *object)
{
    PyObject *path;
    if (take_path(object, &path) < 0) {
        return NULL;
    }
    int64_t size = path ? size_of_regular(PyBytes_AS_STRING(path)) : -1;
    Py_XDECREF(path);
    return PyLong_FromLongLong(size);
}

static PyObject *
file_open_now(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    if (count != 2) {
        PyErr_Format(PyExc_TypeError, "_open_now() takes 2 arguments, not %zd", count);
        return NULL;
    }
    int flags = as_int(args[1]);
    if (flags == -1 && PyErr_Occurred()) {
        return NULL;
    }
    PyObject *path;
    if (take_path(args[0], &path) < 0) {
        return NULL;
    }
    if (path == NULL) {
        Py_RETURN_NONE;
    }
    const char *name = PyBytes_AS_STRING(path);
    int fd = flags & O_PATH ? open_path(name, flags) : open_regular(name, flags);
    Py_DECREF(path);
    if (fd < 0) {
        Py_RETURN_NONE;
    }
    return PyLong_FromLong(fd);
}

static PyMethodDef functions[] = {
    {"_read_now", (PyCFunction)(void (*)(void))file_read_now, METH_FASTCALL,
     PyDoc_STR("_read_now(fd, size, offset=-1)\n\n"
               "Return up to size bytes from the page cache; None if a read blocks or fails.")},
    {"_readinto_now", (PyCFunction)(void (*)(void))file_readinto_now, METH_FASTCALL,
     PyDoc_STR("_readinto_now(fd, buffer, offset=-1)\n\n"
               "Fill a buffer from the page cache. Return the number of bytes, or None.")},
    {"_size_now", file_size_now, METH_O,
     PyDoc_STR("_size_now(path)\n\n"
               "Return the size of a local regular file whose path is cached, or -1.")},
    {"_open_now", (PyCFunction)(void (*)(void))file_open_now, METH_FASTCALL,
     PyDoc_STR("_open_now(path, flags)\n\n"
               "Return the descriptor of a file whose path is cached, or None. Never make or\n"
               "truncate a file. Without O_PATH: only for a path that _size_now() knows.")},
    {NULL, NULL, 0, NULL},
};

int
file_now_init(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
