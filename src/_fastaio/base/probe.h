/* probe.h: USDT probes, through which bpftrace, perf and other tracers look into a running loop.
 *
 * A probe is one nop, and a note in the extension's file that says where the arguments are. An argument must
 * be a value that is in a register or in memory anyway, so that a probe adds no other instruction.
 * <sys/sdt.h> makes probes if it exists when the extension is built; -DHAS_PROBES=0 leaves them out.
 * docs/probes.md has each probe's name and arguments.
 */
#ifndef FASTAIO_PROBE_H
#define FASTAIO_PROBE_H

#if !defined(HAS_PROBES) && defined(__has_include)
#if __has_include(<sys/sdt.h>)
#define HAS_PROBES 1
#endif
#endif

#if defined(HAS_PROBES) && HAS_PROBES
#include <sys/sdt.h>
#define PROBE1(name, a) DTRACE_PROBE1(fastaio, name, a)
#define PROBE2(name, a, b) DTRACE_PROBE2(fastaio, name, a, b)
#else
#undef HAS_PROBES
#define HAS_PROBES 0
#define PROBE1(name, a) ((void)0)
#define PROBE2(name, a, b) ((void)0)
#endif

#endif
