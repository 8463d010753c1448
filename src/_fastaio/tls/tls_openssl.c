/* tls_openssl.c: finds libssl's functions, and the SSL * in _ssl's objects. */
#include "tls/tls_openssl.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* How many bytes of an SSL are looked at: its BIOs are among the first fields. */
#define PEEK_SIZE 256

/* ---- the functions --------------------------------------------------------------------------- */

/* Fill in the functions. Return false if one is missing. */
static bool
find_functions(OpenSSL *lib)
{
    struct {
        const char *name;
        void *where;
    } wanted[] = {
        {"SSL_read_ex", &lib->SSL_read_ex},
        {"SSL_write_ex", &lib->SSL_write_ex},
        {"SSL_get_error", &lib->SSL_get_error},
        {"SSL_pending", &lib->SSL_pending},
        {"SSL_get_shutdown", &lib->SSL_get_shutdown},
        {"SSL_get_rbio", &lib->SSL_get_rbio},
        {"SSL_get_wbio", &lib->SSL_get_wbio},
        {"SSL_set0_rbio", &lib->SSL_set0_rbio},
        {"BIO_new_mem_buf", &lib->BIO_new_mem_buf},
        {"BIO_up_ref", &lib->BIO_up_ref},
        {"BIO_free", &lib->BIO_free},
        {"BIO_ctrl", &lib->BIO_ctrl},
        {"BIO_read", &lib->BIO_read},
        {"BIO_write", &lib->BIO_write},
        {"BIO_ctrl_pending", &lib->BIO_ctrl_pending},
        {"ERR_peek_error", &lib->ERR_peek_error},
        {"ERR_clear_error", &lib->ERR_clear_error},
        {"OpenSSL_version_num", &lib->OpenSSL_version_num},
    };
    for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++) {
        void *function = dlsym(lib->library, wanted[i].name);
        if (function == NULL) {
            return false;
        }
        memcpy(wanted[i].where, &function, sizeof(function));
    }
    return true;
}

/* Return whether the library's version is the one that _ssl says it runs on: 1, 0, or -1 with an
   exception. */
static int
has_version_of_ssl(OpenSSL *lib, PyObject *module)
{
    PyObject *number = PyObject_GetAttrString(module, "OPENSSL_VERSION_NUMBER");
    unsigned long version = number != NULL ? PyLong_AsUnsignedLong(number) : 0;
    Py_XDECREF(number);
    if (PyErr_Occurred()) {
        return -1;
    }
    return version == lib->OpenSSL_version_num();
}

/* Load the library and its functions. Return 1, 0 if they cannot be had, or -1 with an exception.
   The library is found through the file of _ssl, since there may be others in the process. */
static int
load(OpenSSL *lib)
{
    PyObject *module = PyImport_ImportModule("_ssl");
    PyObject *path = NULL;
    int rc = -1;
    if (module == NULL) {
        return -1;
    }
    PyObject *file = PyModule_GetFilenameObject(module);
    if (file == NULL) { /* _ssl is built in: its library cannot be known */
        PyErr_Clear();
        rc = 0;
        goto done;
    }
    path = PyUnicode_EncodeFSDefault(file);
    Py_DECREF(file);
    if (path == NULL) {
        goto done;
    }
    lib->library = dlopen(PyBytes_AS_STRING(path), RTLD_LAZY | RTLD_LOCAL | RTLD_NOLOAD);
    rc = lib->library != NULL && find_functions(lib) ? has_version_of_ssl(lib, module) : 0;
done:
    Py_XDECREF(path);
    Py_DECREF(module);
    if (rc <= 0) {
        openssl_unload(lib);
    }
    return rc;
}

/* Load the library for all threads, once. Return 0, or -1 with an exception; then it is not tried again. */
static int
search(OpenSSL *lib, fastaio_state *st)
{
    OpenSSL found = {0};
    int rc = load(&found);
    state_lock(st);
    if (!atomic_load(&lib->searched)) {
        lib->library = found.library;
        found.library = NULL;
        if (lib->library != NULL) {
            (void)find_functions(lib); /* which load() has found */
        }
        atomic_store(&lib->searched, true);
    }
    state_unlock(st);
    openssl_unload(&found); /* another thread was first */
    return rc < 0 ? -1 : 0;
}

void
openssl_unload(OpenSSL *lib)
{
    if (lib->library != NULL) {
        dlclose(lib->library);
        lib->library = NULL;
    }
}

/* ---- the pointers ---------------------------------------------------------------------------- */

/* Return the pointer that is stored in an object at an offset. */
static void *
word_at(const void *obj, Py_ssize_t offset)
{
    void *word;
    memcpy(&word, (const char *)obj + offset, sizeof(word));
    return word;
}

/* Copy memory through a pipe: write() fails where a load would crash. Return false if the memory is
   not mapped. */
static bool
peek(const int *pipe_fds, const void *address, void *copy, size_t size)
{
    ssize_t count;
    do {
        count = write(pipe_fds[1], address, size);
    } while (count < 0 && errno == EINTR);
    if (count <= 0) {
        return false;
    }
    return read(pipe_fds[0], copy, size) == (ssize_t)size && count == (ssize_t)size;
}

/* Return true if one of the words is this pointer. */
static bool
has_pointer(void *const *words, size_t count, const void *pointer)
{
    for (size_t i = 0; i < count; i++) {
        if (words[i] == pointer) {
            return true;
        }
    }
    return false;
}

/* Return true if handles->ssl is an SSL with these BIOs. Only memory that holds a pointer to
   `incoming` is given to OpenSSL, which then confirms both BIOs. (During a handshake the SSL may
   have another BIO in front of `outgoing`, so that one is not looked for.) */
static bool
is_ssl(OpenSSL *lib, const int *pipe_fds, const SslHandles *handles)
{
    void *words[PEEK_SIZE / sizeof(void *)];
    size_t count = sizeof(words) / sizeof(*words);
    if (handles->ssl == NULL || (uintptr_t)handles->ssl % sizeof(void *) != 0 ||
        !peek(pipe_fds, handles->ssl, words, sizeof(words))) {
        return false;
    }
    return has_pointer(words, count, handles->incoming) &&
           lib->SSL_get_rbio(handles->ssl) == handles->incoming &&
           lib->SSL_get_wbio(handles->ssl) == handles->outgoing;
}

/* Search an _SSLSocket for the SSL with these BIOs. Return its offset, or -1. */
static Py_ssize_t
find_ssl(OpenSSL *lib, PyObject *sslobj, SslHandles handles)
{
    int pipe_fds[2];
    Py_ssize_t found = -1;
    if (pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) < 0) {
        return -1;
    }
    Py_ssize_t end = Py_TYPE(sslobj)->tp_basicsize - (Py_ssize_t)sizeof(void *);
    for (Py_ssize_t offset = sizeof(PyObject); offset <= end && found < 0;
         offset += (Py_ssize_t)sizeof(void *)) {
        handles.ssl = word_at(sslobj, offset);
        if (is_ssl(lib, pipe_fds, &handles)) {
            found = offset;
        }
    }
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    return found;
}

int
openssl_handles(OpenSSL *lib, fastaio_state *st, PyObject *sslobj, PyObject *incoming,
                PyObject *outgoing, SslHandles *handles)
{
    if (!atomic_load(&lib->searched) && search(lib, st) < 0) {
        return -1;
    }
    Py_ssize_t offset = atomic_load_explicit(&lib->ssl_offset, memory_order_relaxed);
    if (lib->library == NULL || offset < 0) {
        return 0;
    }
    /* A MemoryBIO begins with its BIO. If that is not true, no SSL has this pointer as a BIO. */
    handles->incoming = word_at(incoming, sizeof(PyObject));
    handles->outgoing = word_at(outgoing, sizeof(PyObject));
    if (handles->incoming == NULL || handles->outgoing == NULL) {
        return 0;
    }
    if (offset == 0) {
        offset = find_ssl(lib, sslobj, *handles);
        atomic_store_explicit(&lib->ssl_offset, offset, memory_order_relaxed);
        if (offset < 0) {
            return 0;
        }
    }
    handles->ssl = word_at(sslobj, offset);
    return handles->ssl != NULL && lib->SSL_get_rbio(handles->ssl) == handles->incoming &&
           lib->SSL_get_wbio(handles->ssl) == handles->outgoing;
}
