/* tls_openssl.h: functions of the libssl that Python's _ssl runs on, and the pointers behind its
 * objects.
 *
 * Nothing is linked, and no header of OpenSSL is needed. The functions are found in the library
 * that _ssl itself has loaded. The place where _ssl keeps a pointer is proved on a living object
 * before it is used. Where any of that fails, the caller uses Python's own interface.
 */
#ifndef FASTAIO_TLS_OPENSSL_H
#define FASTAIO_TLS_OPENSSL_H

#include "base/state.h"

#include <stdatomic.h>

enum {
    OPENSSL_ERROR_SSL = 1,
    OPENSSL_ERROR_WANT_READ = 2,
    OPENSSL_ERROR_ZERO_RETURN = 6,
    OPENSSL_RECEIVED_SHUTDOWN = 2,
    OPENSSL_SET_BUF_MEM_EOF_RETURN = 130,
};

typedef struct {
    void *library;         /* of dlopen(); NULL: not loaded */
    atomic_bool searched;  /* the library was searched for: the fields but `ssl_offset` stay as they are. Set under
                              state_lock() */
    _Atomic Py_ssize_t ssl_offset; /* of the SSL * in an _SSLSocket; 0: not proved yet, -1: not found */
    int (*SSL_read_ex)(void *ssl, void *buffer, size_t size, size_t *count);
    int (*SSL_write_ex)(void *ssl, const void *buffer, size_t size, size_t *count);
    int (*SSL_get_error)(const void *ssl, int result);
    int (*SSL_pending)(const void *ssl);
    int (*SSL_get_shutdown)(const void *ssl);
    void *(*SSL_get_rbio)(const void *ssl);
    void *(*SSL_get_wbio)(const void *ssl);
    void (*SSL_set0_rbio)(void *ssl, void *bio);
    void *(*BIO_new_mem_buf)(const void *data, int size);
    int (*BIO_up_ref)(void *bio);
    int (*BIO_free)(void *bio);
    long (*BIO_ctrl)(void *bio, int command, long number, void *pointer);
    int (*BIO_read)(void *bio, void *buffer, int size);
    int (*BIO_write)(void *bio, const void *buffer, int size);
    size_t (*BIO_ctrl_pending)(void *bio);
    unsigned long (*ERR_peek_error)(void);
    void (*ERR_clear_error)(void);
    unsigned long (*OpenSSL_version_num)(void);
} OpenSSL;

/* The three pointers behind a connection. */
typedef struct {
    void *ssl;
    void *incoming; /* BIOs */
    void *outgoing;
} SslHandles;

/* Store the pointers behind ssl.SSLObject._sslobj and its two ssl.MemoryBIOs, which must be of
   exactly these types. Return 1, 0 if they cannot be had, or -1 with an exception. The pointers
   live as long as the objects. */
int openssl_handles(OpenSSL *lib, fastaio_state *st, PyObject *sslobj, PyObject *incoming,
                    PyObject *outgoing, SslHandles *handles);
/* Give the library back. The functions are not to be called any more. */
void openssl_unload(OpenSSL *lib);

#endif
