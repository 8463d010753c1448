/* shared_lines.c: reads the memory trace of valgrind's lackey from standard input, and prints the cache lines that
 * two phases of the program share.
 *
 * A store to one of four marks begins and ends the phases: marks 0 and 1 are the first one's, 2 and 3 the second
 * one's. The marks stand 64 bytes apart, from the address that is the only argument. A line of the output is the
 * address of a cache line that one phase writes and the other one touches, then its loads and stores in the first
 * phase and in the second.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_BITS 6
#define TABLE_BITS 22

typedef struct {
    uint64_t line; /* 0: an empty entry */
    unsigned loads[2], stores[2];
} Entry;

static Entry *
find(Entry *table, uint64_t line)
{
    uint64_t place = line * UINT64_C(0x9E3779B97F4A7C15) >> (64 - TABLE_BITS);
    while (table[place].line != 0 && table[place].line != line) {
        place = (place + 1) & ((UINT64_C(1) << TABLE_BITS) - 1);
    }
    table[place].line = line;
    return &table[place];
}

int
main(int argc, char **argv)
{
    char text[256];
    int phase = -1;
    Entry *table = calloc((size_t)1 << TABLE_BITS, sizeof(*table));
    if (argc != 2 || table == NULL) {
        fprintf(stderr, "usage: shared_lines ADDRESS < trace\n");
        return 2;
    }
    uint64_t marks = strtoull(argv[1], NULL, 0);
    while (fgets(text, sizeof(text), stdin) != NULL) {
        if (text[0] != ' ' || (text[1] != 'L' && text[1] != 'S' && text[1] != 'M')) {
            continue; /* an instruction, or a message of valgrind */
        }
        char *end;
        uint64_t address = strtoull(text + 3, &end, 16);
        uint64_t size = *end == ',' ? strtoull(end + 1, NULL, 10) : 1;
        if (address >= marks && address < marks + (4 << LINE_BITS)) {
            uint64_t mark = (address - marks) >> LINE_BITS;
            phase = mark % 2 == 0 ? (int)(mark / 2) : -1;
            continue;
        }
        if (phase < 0 || address >> LINE_BITS == 0) {
            continue;
        }
        uint64_t last = (address + size - 1) >> LINE_BITS;
        for (uint64_t line = address >> LINE_BITS; line <= last; line++) {
            Entry *entry = find(table, line);
            entry->loads[phase] += text[1] != 'S';
            entry->stores[phase] += text[1] != 'L';
        }
    }
    for (size_t i = 0; i < (size_t)1 << TABLE_BITS; i++) {
        const Entry *entry = &table[i];
        if ((entry->stores[0] && (entry->loads[1] || entry->stores[1]))
            || (entry->stores[1] && entry->loads[0])) {
            printf("%#llx %u %u %u %u\n", (unsigned long long)(entry->line << LINE_BITS),
                   entry->loads[0], entry->stores[0], entry->loads[1], entry->stores[1]);
        }
    }
    free(table);
    return 0;
}
