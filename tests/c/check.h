/* check.h: what the programs of this folder share: CHECK(), and cases that are chosen by name. */
#ifndef FASTAIO_TESTS_CHECK_H
#define FASTAIO_TESTS_CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Exit with status 1 and a message unless the condition holds. */
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __func__, __LINE__, #condition);                        \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

typedef struct {
    const char *name;
    void (*run)(void);
} Case;

/* Run the case that argv[1] names. Exit with status 2 if there is none of that name. */
static inline void
run_case(const Case *cases, size_t count, int argc, char **argv)
{
    for (size_t i = 0; i < count && argc > 1; i++) {
        if (strcmp(cases[i].name, argv[1]) == 0) {
            cases[i].run();
            return;
        }
    }
    exit(2);
}

#endif
