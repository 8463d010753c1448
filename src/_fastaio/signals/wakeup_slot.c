/* wakeup_slot.c: reading the signal wakeup descriptor of the process.
 *
 * No other file includes private headers of CPython.
 */
#ifndef Py_BUILD_CORE
#define Py_BUILD_CORE 1
#endif
#include "base/compat.h"

#if RUNTIME_HAS_WAKEUP_FD && defined(__has_include)
#if __has_include(<internal/pycore_runtime.h>)
#include <internal/pycore_runtime.h>
#define SLOT _PyRuntime.signals.wakeup
#endif
#endif

#include "signals/wakeup_slot.h"

bool
wakeup_slot_read(WakeupSlot *slot)
{
#ifdef SLOT
    *slot = (WakeupSlot){.fd = (int)SLOT.fd, .warns = SLOT.warn_on_full_buffer != 0};
    return true;
#else
    *slot = (WakeupSlot){.fd = -1};
    return false;
#endif
}
