/* file_now.h: what the kernel's caches can answer at once, without waiting for a disk.
 *
 * Functions of the module for fastaio.files. Each either has its whole effect and
 * says so, or has none and returns None: then a thread (or the ring) does the same
 * in the ordinary way, and meets whatever error there is to be met.
 */
#ifndef FASTAIO_FILE_NOW_H
#define FASTAIO_FILE_NOW_H

#include "base/state.h"

/* No more than this is copied at once while the loop waits: some tens of microseconds' worth. */
#define FILE_NOW_MAX (1024 * 1024)
/* The GIL is kept while this much or less is copied: some microseconds' worth. */
#define FILE_NOW_BRIEF (64 * 1024)

int file_now_init(PyObject *module);

#endif
