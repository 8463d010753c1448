/* file_now.h: reads and opens that the kernel's caches can answer without waiting for a disk.
 *
 * These are functions of the module, for fastaio.files. A function either has its whole effect, or
 * has none and returns None (_size_now() -1). After None the caller does the same in a thread or on
 * the ring, and gets the error there, if there is one.
 */
#ifndef FASTAIO_FILE_NOW_H
#define FASTAIO_FILE_NOW_H

#include "base/state.h"

/* The most bytes that one call copies while the loop waits. The copy takes tens of microseconds. */
#define FILE_NOW_MAX (1024 * 1024)
/* A copy of at most this many bytes keeps the GIL. It takes some microseconds. */
#define FILE_NOW_BRIEF (64 * 1024)

/* Add the functions to the module. Return 0, or -1 with an exception. */
int file_now_init(PyObject *module);

#endif
