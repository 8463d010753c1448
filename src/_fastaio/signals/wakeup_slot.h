/* wakeup_slot.h: reading the signal wakeup descriptor of the process.
 *
 * signal.set_wakeup_fd() only exchanges the descriptor; no public function reads it.
 */
#ifndef FASTAIO_WAKEUP_SLOT_H
#define FASTAIO_WAKEUP_SLOT_H

#include <stdbool.h>

typedef struct {
    int fd; /* -1: none */
    bool warns; /* on a full buffer */
} WakeupSlot;

/* Read the descriptor into *slot. Return false if the interpreter's headers do not tell its place (3.11, or
   an interpreter without internal headers). The layout is private: the caller compares the result with
   that of set_wakeup_fd() before using it. */
bool wakeup_slot_read(WakeupSlot *slot);

#endif
