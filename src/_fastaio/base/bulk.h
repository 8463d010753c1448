/* bulk.h: memory of arrays that a burst makes large.
 *
 * malloc() keeps freed memory: each large block that is freed raises the sizes from which malloc() maps
 * blocks and trims the heap, until 64 MB may stay in the process. So a large array has a mapping of its
 * own, which goes back to the system as soon as the array is freed.
 */
#ifndef FASTAIO_BULK_H
#define FASTAIO_BULK_H

#include "base/compat.h"
#include <sys/mman.h>

/* Arrays of this many bytes or more have a mapping of their own. */
#define BULK_MAPPED_SIZE (256 * 1024)
/* An array shrinks when its capacity is more than this many times its content. */
#define BULK_SHRINK_RATIO 8
/* An array of this capacity or less never shrinks. */
#define BULK_KEPT_CAPACITY 4096

/* Free the memory of bulk_new() or bulk_resize(). `size`: its size there. */
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

/* Return the memory with another size, as realloc() does; NULL without an exception, and the memory is
   as before. */
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

/* Return the capacity for an array of `count` items: the present one; or, for an array that is to shrink, a
   power of two, at least twice the count. */
static inline size_t
bulk_fitting_capacity(size_t capacity, size_t count)
{
    if (capacity <= BULK_KEPT_CAPACITY || count >= capacity / BULK_SHRINK_RATIO) {
        return capacity;
    }
    size_t fitting = BULK_KEPT_CAPACITY;
    while (fitting < 2 * count) {
        fitting *= 2;
    }
    return fitting;
}

#endif
