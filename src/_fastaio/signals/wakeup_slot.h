/* wakeup_slot.h: reading the signal wakeup descriptor of the process.
 *
 * signal.set_wakeup_fd() only exchanges the descriptor; no public function reads it.
 */
#ifndef FASTAIO_WAKEUP_SLOT_H
#define FASTAIO_WAKEUP_SLOT_H

#include <stdbool.h>

typedef struct {
    int fd;     /* -1: none */
    bool warns; /* warn_on_full_buffer of set_wakeup_fd() */
} WakeupSlot;

/* Read the descriptor into *slot. Return false if its place is not known: on 3.11, and if the
   internal headers of CPython were missing at build time. The layout is private to CPython, so the
   caller compares the result with that of set_wakeup_fd() before relying on it. */
bool wakeup_slot_read(WakeupSlot *slot);

#endif
