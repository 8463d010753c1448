/* wakeup_slot.h: the process's signal wakeup descriptor, as CPython's C handler finds it.
 *
 * signal.set_wakeup_fd() only exchanges the descriptor; nothing public reads it.
 */
#ifndef FASTAIO_WAKEUP_SLOT_H
#define FASTAIO_WAKEUP_SLOT_H

#include <stdbool.h>

typedef struct {
    int fd; /* -1: none */
    bool warns; /* on a full buffer */
} WakeupSlot;

/* Read it. Return false where the interpreter's headers do not tell where it is (3.11, or an
   interpreter without its internal headers). The layout is private: compare the result with what
   set_wakeup_fd() returns before it is believed. */
bool wakeup_slot_read(WakeupSlot *slot);

#endif
