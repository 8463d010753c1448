/* bulk.h: memory of arrays that a burst makes large.
 *
 * malloc keeps what is freed: each large block that is freed raises the size from which it asks the
 * system for more, up to 64 MB that stay in the process. So a large array has a mapping of its own,
 * which goes back to the system as soon as the array is freed.
 */
#ifndef FASTAIO_BULK_H
#define FASTAIO_BULK_H

#include "base/compat.h"
#include <sys/mman.h>

#define BULK_MAPPED_SIZE (256 * 1024)
/* How many times larger than its content an array is before it is made smaller. */
#define BULK_SPARE 8
/* Arrays of no more items than this stay as they are. */
#define BULK_KEPT_COUNT 4096

static inline void
bulk_free(void *memory, size_t size)
{
    if (size >= BULK_MAPPED_SIZE) {
        munmap(memory, size);
    }
    else {
        PyMem_Free(memory);
    }
}

/* Return `size` bytes, not initialised; NULL without an exception. */
static inline void *
bulk_new(size_t size)
{
    if (size < BULK_MAPPED_SIZE) {
        return PyMem_Malloc(size);
    }
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory != MAP_FAILED ? memory : NULL;
}

/* Return the memory with another size, as realloc() does; NULL without an exception. */
static inline void *
bulk_resize(void *memory, size_t old_size, size_t size)
{
    if (memory == NULL) {
        return bulk_new(size);
    }
    if (old_size >= BULK_MAPPED_SIZE && size >= BULK_MAPPED_SIZE) {
        void *moved = mremap(memory, old_size, size, MREMAP_MAYMOVE);
        return moved != MAP_FAILED ? moved : NULL;
    }
    if (old_size < BULK_MAPPED_SIZE && size < BULK_MAPPED_SIZE) {
        return PyMem_Realloc(memory, size);
    }
    void *copy = bulk_new(size);
    if (copy != NULL) {
        memcpy(copy, memory, old_size < size ? old_size : size);
        bulk_free(memory, old_size);
    }
    return copy;
}

/* Return the capacity that an array of `count` items is to have: as it is, or a smaller power of two
   that leaves room for as many again. */
static inline size_t
bulk_fitting_capacity(size_t capacity, size_t count)
{
    if (capacity <= BULK_KEPT_COUNT || count >= capacity / BULK_SPARE) {
        return capacity;
    }
    size_t fitting = BULK_KEPT_COUNT;
    while (fitting < 2 * count) {
        fitting *= 2;
    }
    return fitting;
}

#endif
