/* account.h: what each task and callback costs: steps, times, waiting in the queue.
 *
 * Accounts are kept by coroutine function, by task name, or not at all. The queue keeps no times, so the
 * account has the time of each queued entry in a ring of its own: entries get the time of the end of the
 * callback that queued them.
 */
#ifndef FASTAIO_ACCOUNT_H
#define FASTAIO_ACCOUNT_H

#include "loop/loop.h"

/* The beginning of an entry that is accounted. */
typedef struct {
    Py_ssize_t row; /* -1: none */
    int64_t begin_ns;
    int64_t cpu_ns;
} AccountMark;

/* Begin to account an entry that has been popped from the ready queue; end that. */
AccountMark account_begin(LoopObject *loop, const ReadyEntry *entry);
void account_end(LoopObject *loop, AccountMark mark);

void account_free(Account *account);

/* The methods _account, _account_rows and _account_clear. */
extern PyMethodDef account_methods[];

#endif
