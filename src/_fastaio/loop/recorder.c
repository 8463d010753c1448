/* recorder.c: the native thread that finds stalls, and the queue of what the reporter is to tell. */
#include "loop/recorder.h"

#include "base/error.h"
#include "base/mutex.h"
#include "base/state.h"
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A loop is looked at this many times per threshold, so a stall is found at most a quarter late. */
#define LOOKS_PER_THRESHOLD 4
#define LOOK_MIN_NS INT64_C(500000)
#define LOOK_MAX_NS INT64_C(50000000)
/* If a look comes this late, the process or the machine has stood still. What lasted meanwhile is no stall. */
#define LATE_NS INT64_C(100000000)
/* The reporter must have the GIL within this time. A thread of Python that wants the GIL gets it within the
   switch interval, 5 ms, from any thread that runs bytecode. */
#define GRACE_NS INT64_C(25000000)
#define GRACE_LOOK_NS INT64_C(5000000)
/* The native thread sleeps after this many looks that found each loop waiting. */
#define QUIET_LOOKS 8

/* What the reporter is to tell. */
typedef struct StallEvent {
    struct StallEvent *next;
    PyObject *loop;
    PyObject *subject; /* or NULL */
    StallEnd end;
} StallEvent;

struct Recorder {
    pthread_mutex_t lock;
    pthread_cond_t called; /* for the native thread */
    pthread_cond_t found;  /* for the reporter; uses the same lock */
    StallWatch *watches;
    StallEvent *ends;      /* the oldest first */
    StallEvent **last_end;
    uint64_t last_number;
    uint64_t dumping;      /* the stall whose stack the native thread takes now; 0: none */
    bool stopping;
    unsigned run;          /* counts the starts: a reporter belongs to one of them */
    atomic_bool asleep;
    int signal;            /* of faulthandler; 0: none */
    int dump_fd;           /* the file that faulthandler writes to */
    /* These belong to the threads that hold the GIL, or the lock `control`: */
    Mutex control;
    NativeThread thread;
    bool running;
};

/* ---- finding stalls --------------------------------------------------------------------------- */

/* Look at a loop. Return true if it waits for events. The loop's thread writes the fields that are read here
   without a lock: each is one word, and an old value only delays a finding. */
static bool
look_at(Recorder *recorder, StallWatch *watch, int64_t now_ns, bool late)
{
    size_t head = __atomic_load_n(watch->head, __ATOMIC_RELAXED);
    bool waits = atomic_load(watch->waits);
    if (waits || late || head != watch->seen_head) {
        int64_t turn_ns = __atomic_load_n(watch->turn_ns, __ATOMIC_RELAXED);
        watch->seen_head = head;
        watch->since_ns = now_ns;
        watch->begin_ns = turn_ns < watch->looked_ns ? watch->looked_ns
                          : turn_ns > now_ns         ? now_ns
                                                     : turn_ns;
    }
    else if (watch->state == STALL_NONE && now_ns - watch->since_ns >= watch->threshold_ns) {
        watch->state = STALL_FOUND;
        watch->number = ++recorder->last_number;
        watch->found_ns = now_ns;
        watch->described = false;
        atomic_store(watch->stalled, true);
        pthread_cond_signal(&recorder->found);
    }
    watch->looked_ns = now_ns;
    return waits;
}

/* Look at all loops. Return true if one is at work. */
static bool
look(Recorder *recorder, bool late)
{
    bool busy = false;
    int64_t now_ns = clock_ns();
    for (StallWatch *watch = recorder->watches; watch != NULL; watch = watch->next) {
        busy = !look_at(recorder, watch, now_ns, late) || busy;
    }
    return busy;
}

/* Return the time between two looks. */
static int64_t
look_interval(const Recorder *recorder)
{
    int64_t interval_ns = LOOK_MAX_NS;
    for (const StallWatch *watch = recorder->watches; watch != NULL; watch = watch->next) {
        int64_t wanted_ns = watch->threshold_ns / LOOKS_PER_THRESHOLD;
        if (watch->state == STALL_FOUND && wanted_ns > GRACE_LOOK_NS) {
            wanted_ns = GRACE_LOOK_NS;
        }
        if (wanted_ns < interval_ns) {
            interval_ns = wanted_ns;
        }
    }
    return interval_ns < LOOK_MIN_NS ? LOOK_MIN_NS : interval_ns;
}

/* ---- stacks without the GIL -------------------------------------------------------------------- */

/* The heading of faulthandler's stack of one thread. */
static const char heading[] = "Stack (most recent call first):\n";

/* Return the file's text; from malloc(), or NULL. */
static char *
read_dump(int fd)
{
    struct stat status;
    if (fstat(fd, &status) < 0) {
        return NULL;
    }
    char *text = malloc((size_t)status.st_size + 1);
    if (text != NULL) {
        ssize_t size = pread(fd, text, (size_t)status.st_size, 0);
        text[size > 0 ? size : 0] = '\0';
    }
    return text;
}

/* Cut off all but the first stack. Return true if a second one has begun, so that the first is complete. */
static bool
cut_first_stack(char *text)
{
    char *first = text ? strstr(text, heading) : NULL;
    if (first == NULL) {
        return false;
    }
    first += strlen(heading);
    char *second = strstr(first, heading);
    if (second != NULL) {
        *second = '\0';
    }
    memmove(text, first, strlen(first) + 1);
    return second != NULL;
}

/* Have faulthandler write the stack of a thread, and return the text; from malloc(), or NULL. The thread's
   own handler writes, so the stack stands still. The signal is sent twice: the second one is delivered when
   the first handler has returned, so its heading tells that the first stack is complete. */
static char *
dump_stack(int fd, int signal, int tid)
{
    if (signal == 0 || ftruncate(fd, 0) < 0 || lseek(fd, 0, SEEK_SET) < 0) {
        return NULL;
    }
    for (int i = 0; i < 2; i++) {
        if (syscall(SYS_tgkill, getpid(), tid, signal) < 0) {
            return NULL;
        }
    }
    char *text = NULL;
    for (int i = 0; i < 200; i++) {
        usleep(i < 20 ? 500 : 5000);
        free(text);
        text = read_dump(fd);
        if (cut_first_stack(text)) {
            break;
        }
    }
    return text;
}

static void
write_all(int fd, const char *text)
{
    size_t size = strlen(text);
    while (size > 0) {
        ssize_t written = write(fd, text, size);
        if (written <= 0) {
            return; /* nobody reads it */
        }
        text += written;
        size -= (size_t)written;
    }
}

/* Write a stall to stderr, which needs no GIL. */
static void
write_stall(int64_t spent_ns, const char *stack)
{
    char head[256];
    snprintf(head, sizeof(head),
             "fastaio: the event loop has been blocked for %.3f seconds by code that keeps the GIL; "
             "its stack (most recent call first):\n",
             (double)spent_ns / NS_PER_SECOND);
    write_all(STDERR_FILENO, head);
    write_all(STDERR_FILENO, stack != NULL && *stack ? stack : "  not available\n");
}

/* Return a listed watch whose stall nobody has taken up in time; or NULL. */
static StallWatch *
neglected(Recorder *recorder, int64_t now_ns)
{
    for (StallWatch *watch = recorder->watches; watch != NULL; watch = watch->next) {
        if (watch->state == STALL_FOUND && now_ns - watch->found_ns >= GRACE_NS) {
            return watch;
        }
    }
    return NULL;
}

/* Return where the stack of a stall belongs: to the watch, or to the end of the stall; NULL if both are
   gone. */
static char **
place_of_stack(Recorder *recorder, uint64_t number)
{
    for (StallWatch *watch = recorder->watches; watch != NULL; watch = watch->next) {
        if (watch->number == number && watch->state == STALL_DUMPED) {
            return &watch->stack;
        }
    }
    for (StallEvent *event = recorder->ends; event != NULL; event = event->next) {
        if (event->end.number == number) {
            return &event->end.stack;
        }
    }
    return NULL;
}

/* Take the stack of a stall that the reporter cannot take. Releases the lock meanwhile. */
static void
dump_stall(Recorder *recorder, StallWatch *watch)
{
    uint64_t number = watch->number;
    int64_t begin_ns = watch->begin_ns;
    int fd = recorder->dump_fd, signal = recorder->signal, tid = watch->tid;
    watch->state = STALL_DUMPED;
    recorder->dumping = number;
    pthread_mutex_unlock(&recorder->lock);
    char *stack = dump_stack(fd, signal, tid);
    write_stall(clock_ns() - begin_ns, stack);
    pthread_mutex_lock(&recorder->lock);
    recorder->dumping = 0;
    char **place = place_of_stack(recorder, number);
    if (place != NULL) {
        *place = stack;
    }
    else {
        free(stack);
    }
    pthread_cond_signal(&recorder->found); /* for the end of this stall */
}

/* ---- the native thread ------------------------------------------------------------------------- */

static void
sleep_until_called(Recorder *recorder)
{
    atomic_store(&recorder->asleep, true);
    if (look(recorder, false)) { /* a loop whose wait has ended before it could see `asleep` */
        atomic_store(&recorder->asleep, false);
    }
    while (atomic_load(&recorder->asleep) && !recorder->stopping) {
        pthread_cond_wait(&recorder->called, &recorder->lock);
    }
}

/* Wait for one interval. Return true if that took so long that the process must have stood still. */
static bool
pause_between_looks(Recorder *recorder)
{
    int64_t until_ns = clock_ns() + look_interval(recorder);
    struct timespec until = {until_ns / NS_PER_SECOND, until_ns % NS_PER_SECOND};
    pthread_cond_timedwait(&recorder->called, &recorder->lock, &until);
    return clock_ns() - until_ns > LATE_NS;
}

static void
record(void *arg)
{
    Recorder *recorder = arg;
    int quiet = 0;
    pthread_mutex_lock(&recorder->lock);
    while (!recorder->stopping) {
        bool late = pause_between_looks(recorder);
        quiet = look(recorder, late) ? 0 : quiet + 1;
        StallWatch *watch = neglected(recorder, clock_ns());
        if (watch != NULL && !recorder->stopping) {
            dump_stall(recorder, watch);
        }
        if (quiet >= QUIET_LOOKS && !recorder->stopping) {
            sleep_until_called(recorder);
            quiet = 0;
        }
    }
    pthread_mutex_unlock(&recorder->lock);
}

void
recorder_wake(Recorder *recorder)
{
    pthread_mutex_lock(&recorder->lock);
    atomic_store(&recorder->asleep, false);
    pthread_cond_signal(&recorder->called);
    pthread_mutex_unlock(&recorder->lock);
}

bool
recorder_sleeps(const Recorder *recorder)
{
    return atomic_load(&recorder->asleep);
}

/* ---- loops ------------------------------------------------------------------------------------- */

void
recorder_begin(StallWatch *watch)
{
    Recorder *recorder = watch->recorder;
    if (__atomic_load_n(&watch->threshold_ns, __ATOMIC_RELAXED) == 0) {
        return;
    }
    int64_t now_ns = clock_ns();
    pthread_mutex_lock(&recorder->lock);
    if (watch->threshold_ns == 0 || watch->link != NULL) {
        pthread_mutex_unlock(&recorder->lock);
        return;
    }
    watch->tid = (int)syscall(SYS_gettid);
    watch->seen_head = *watch->head;
    watch->looked_ns = watch->since_ns = watch->begin_ns = now_ns;
    watch->next = recorder->watches;
    __atomic_store_n(&watch->link, &recorder->watches, __ATOMIC_RELAXED);
    recorder->watches = watch;
    if (watch->next != NULL) {
        watch->next->link = &watch->next;
    }
    pthread_mutex_unlock(&recorder->lock);
    recorder_wake(recorder);
}

static void
unlist(StallWatch *watch)
{
    *watch->link = watch->next;
    if (watch->next != NULL) {
        watch->next->link = watch->link;
    }
    __atomic_store_n(&watch->link, NULL, __ATOMIC_RELAXED);
    watch->state = STALL_NONE;
    free(watch->stack);
    watch->stack = NULL;
    atomic_store(watch->stalled, false);
}

void
recorder_end(StallWatch *watch)
{
    if (__atomic_load_n(&watch->link, __ATOMIC_RELAXED) == NULL) {
        return;
    }
    pthread_mutex_lock(&watch->recorder->lock);
    if (watch->link != NULL) {
        unlist(watch);
    }
    pthread_mutex_unlock(&watch->recorder->lock);
}

void
recorder_set_threshold(StallWatch *watch, int64_t threshold_ns)
{
    if (threshold_ns == 0) {
        recorder_end(watch);
    }
    pthread_mutex_lock(&watch->recorder->lock);
    __atomic_store_n(&watch->threshold_ns, threshold_ns, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&watch->recorder->lock);
}

/* ---- the end of a stall ------------------------------------------------------------------------ */

StallEnd
recorder_take_end(StallWatch *watch)
{
    Recorder *recorder = watch->recorder;
    pthread_mutex_lock(&recorder->lock);
    StallEnd end = {watch->number, clock_ns() - watch->begin_ns, watch->state, watch->stack};
    watch->state = STALL_NONE;
    watch->stack = NULL;
    watch->since_ns = watch->looked_ns = watch->begin_ns = clock_ns();
    atomic_store(watch->stalled, false);
    pthread_mutex_unlock(&recorder->lock);
    return end;
}

static void
event_free(StallEvent *event)
{
    Py_XDECREF(event->loop);
    Py_XDECREF(event->subject);
    free(event->end.stack);
    PyMem_RawFree(event);
}

void
recorder_tell_end(StallWatch *watch, StallEnd *end, PyObject *subject)
{
    Recorder *recorder = watch->recorder;
    StallEvent *event = PyMem_RawMalloc(sizeof(*event));
    if (event == NULL || end->state == STALL_NONE) {
        PyMem_RawFree(event);
        free(end->stack);
        end->stack = NULL;
        return;
    }
    *event = (StallEvent){NULL, Py_NewRef(watch->loop), Py_XNewRef(subject), *end};
    end->stack = NULL;
    pthread_mutex_lock(&recorder->lock);
    *recorder->last_end = event;
    recorder->last_end = &event->next;
    pthread_cond_signal(&recorder->found);
    pthread_mutex_unlock(&recorder->lock);
}

/* ---- the reporter ------------------------------------------------------------------------------ */

/* Return true if the oldest end can be told: its stack is not being taken. The caller has the lock. */
static bool
has_end(const Recorder *recorder)
{
    return recorder->ends != NULL && recorder->ends->end.number != recorder->dumping;
}

/* Return the oldest end, or NULL. The caller has the lock. */
static StallEvent *
pop_end(Recorder *recorder)
{
    StallEvent *event = recorder->ends;
    if (event != NULL) {
        recorder->ends = event->next;
        if (recorder->ends == NULL) {
            recorder->last_end = &recorder->ends;
        }
    }
    return event;
}

/* Return a listed watch whose stall the reporter has not seen; or NULL. The caller has the lock. */
static StallWatch *
find_undescribed(Recorder *recorder)
{
    StallWatch *watch = recorder->watches;
    while (watch != NULL && (watch->state == STALL_NONE || watch->described)) {
        watch = watch->next;
    }
    return watch;
}

/* Wait, without the GIL, until there is something to tell. Return false if the recorder stops and has told
   the end of each stall, or has been started again since this run. */
static bool
wait_for_event(Recorder *recorder, unsigned run)
{
    bool going;
    Py_BEGIN_ALLOW_THREADS
    pthread_mutex_lock(&recorder->lock);
    while (run == recorder->run
           && (recorder->ends != NULL
                   ? !has_end(recorder)
                   : !recorder->stopping && find_undescribed(recorder) == NULL)) {
        pthread_cond_wait(&recorder->found, &recorder->lock);
    }
    going = run == recorder->run && (!recorder->stopping || recorder->ends != NULL);
    pthread_mutex_unlock(&recorder->lock);
    Py_END_ALLOW_THREADS
    return going;
}

/* Return the tuple for a stall that goes on; NULL with an exception, or without one if there is none. A stall
   that no stack has been taken of is the reporter's from now on. A listed loop runs, so it lives. */
static PyObject *
take_found(Recorder *recorder)
{
    pthread_mutex_lock(&recorder->lock);
    StallWatch *watch = find_undescribed(recorder);
    if (watch == NULL) {
        pthread_mutex_unlock(&recorder->lock);
        return NULL;
    }
    watch->described = true;
    bool dumped = watch->state == STALL_DUMPED;
    if (!dumped) {
        watch->state = STALL_TAKEN;
    }
    PyObject *loop = Py_NewRef(watch->loop);
    uint64_t number = watch->number;
    int64_t spent_ns = clock_ns() - watch->begin_ns;
    pthread_mutex_unlock(&recorder->lock);
    return Py_BuildValue("sNKdOO", dumped ? "dumped" : "found", loop,
                         (unsigned long long)number, (double)spent_ns / NS_PER_SECOND, Py_None,
                         Py_None);
}

PyDoc_STRVAR(next_stall_doc, "_next_stall($module, run, /)\n--\n\n"
"Wait for a stall of a watched loop, or for the end of one; called by the recorder's thread.\n\n"
"run: what _start_recorder() has returned.\n"
"Return (kind, loop, number, seconds, stack, subject), or None once _stop_recorder() is called.\n"
"kind: \"found\": the stall goes on, and the caller is to report it; \"dumped\": it goes on, and the\n"
"native thread has reported it; \"over\". stack: faulthandler's text, or None. subject: what ran, a\n"
"str, or None.");

static PyObject *
next_stall(PyObject *module, PyObject *arg)
{
    Recorder *recorder = state_of_module(module)->recorder;
    unsigned long run = PyLong_AsUnsignedLong(arg);
    if (PyErr_Occurred()) {
        return NULL;
    }
    while (wait_for_event(recorder, (unsigned)run)) {
        pthread_mutex_lock(&recorder->lock);
        StallEvent *event = has_end(recorder) ? pop_end(recorder) : NULL;
        pthread_mutex_unlock(&recorder->lock);
        if (event == NULL) {
            PyObject *found = take_found(recorder);
            if (found != NULL || PyErr_Occurred()) {
                return found;
            }
            continue; /* the stall ended while this thread waited for the GIL */
        }
        PyObject *told = Py_BuildValue(
            "sOKdzO", "over", event->loop, (unsigned long long)event->end.number,
            (double)event->end.spent_ns / NS_PER_SECOND,
            event->end.stack == NULL && event->end.state == STALL_DUMPED ? "" : event->end.stack,
            event->subject ? event->subject : Py_None);
        event_free(event);
        return told;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(start_recorder_doc, "_start_recorder($module, signal, fd, /)\n--\n\n"
"Start the native thread that finds stalls, unless it runs. Return the number of its run.\n\n"
"signal: the signal by which faulthandler writes the stack of a thread to the file; 0: none.\n"
"fd: that file. Raises OSError if there can be no thread.");

/* The reporter of the last run may not have seen that it has been stopped. It ends now. */
static void
begin_run(Recorder *recorder)
{
    pthread_mutex_lock(&recorder->lock);
    recorder->stopping = false;
    recorder->run++;
    pthread_cond_broadcast(&recorder->found);
    pthread_mutex_unlock(&recorder->lock);
}

static PyObject *
start_recorder(PyObject *module, PyObject *args)
{
    Recorder *recorder = state_of_module(module)->recorder;
    int signal, fd;
    if (!PyArg_ParseTuple(args, "ii:_start_recorder", &signal, &fd)) {
        return NULL;
    }
    int error = 0;
    mutex_lock(&recorder->control);
    if (!recorder->running) {
        recorder->signal = signal;
        recorder->dump_fd = fd;
        begin_run(recorder);
        atomic_store(&recorder->asleep, false);
        error = native_thread_start(&recorder->thread, "fastaio-record", record, recorder);
        recorder->running = error == 0;
    }
    unsigned run = recorder->run;
    mutex_unlock(&recorder->control);
    if (error) {
        raise_errno(error);
        return NULL;
    }
    return PyLong_FromUnsignedLong(run);
}

/* Stop the native thread, which this thread joins if it runs, and have next_stall() return. */
static void
stop(Recorder *recorder, bool joins)
{
    pthread_mutex_lock(&recorder->lock);
    recorder->stopping = true;
    pthread_cond_signal(&recorder->called);
    pthread_cond_broadcast(&recorder->found);
    pthread_mutex_unlock(&recorder->lock);
    if (joins) {
        native_thread_join(&recorder->thread);
    }
}

PyDoc_STRVAR(stop_recorder_doc, "_stop_recorder($module, /)\n--\n\n"
"Stop the native thread, and have _next_stall() return None. A second call does nothing.");

static PyObject *
stop_recorder(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    Recorder *recorder = state_of_module(module)->recorder;
    mutex_lock(&recorder->control);
    bool joins = recorder->running;
    recorder->running = false;
    mutex_unlock(&recorder->control);
    Py_BEGIN_ALLOW_THREADS
    stop(recorder, joins);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

/* ---- life -------------------------------------------------------------------------------------- */

static PyMethodDef recorder_functions[] = {
    {"_next_stall", next_stall, METH_O, next_stall_doc},
    {"_start_recorder", start_recorder, METH_VARARGS, start_recorder_doc},
    {"_stop_recorder", stop_recorder, METH_NOARGS, stop_recorder_doc},
    {NULL, NULL, 0, NULL},
};

int
recorder_init(PyObject *module)
{
    Recorder *recorder = PyMem_RawCalloc(1, sizeof(*recorder));
    if (recorder == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    int error = native_lock_init(&recorder->lock, &recorder->called);
    if (error == 0) {
        error = pthread_cond_init(&recorder->found, NULL);
        if (error) {
            pthread_cond_destroy(&recorder->called);
            pthread_mutex_destroy(&recorder->lock);
        }
    }
    if (error) {
        PyMem_RawFree(recorder);
        return raise_errno(error);
    }
    recorder->last_end = &recorder->ends;
    state_of_module(module)->recorder = recorder;
    return PyModule_AddFunctions(module, recorder_functions);
}

void
recorder_free(Recorder *recorder)
{
    if (recorder == NULL) {
        return;
    }
    stop(recorder, recorder->running);
    for (StallEvent *event; (event = pop_end(recorder)) != NULL;) {
        event_free(event);
    }
    pthread_cond_destroy(&recorder->found);
    pthread_cond_destroy(&recorder->called);
    pthread_mutex_destroy(&recorder->lock);
    PyMem_RawFree(recorder);
}

void
recorder_after_fork_in_child(Recorder *recorder)
{
    mutex_after_fork(&recorder->control);
    recorder->running = false;
    while (recorder->watches != NULL) {
        unlist(recorder->watches);
    }
}
