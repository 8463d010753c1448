"""``python -m tests.fuzz --help``."""

import argparse
import random
import sys

from .hunt import MODES, Hunt, backends, make, prepare
from .program import source


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, help="how long to run (default: 60)")
    parser.add_argument("--count", type=int, help="run so many seeds of each kind instead")
    parser.add_argument("--mode", choices=(*MODES, "all"), default="all")
    parser.add_argument("--backend", choices=("epoll", "io_uring", "asyncio", "all"), default="all")
    parser.add_argument("--seed", type=int, help="the first seed (default: a random one)")
    parser.add_argument("--shrink", type=float, default=60.0, help="seconds to shrink a failure")
    parser.add_argument("--show", action="store_true", help="print the program of the seed only")
    options = parser.parse_args()
    modes = MODES if options.mode == "all" else [options.mode]
    chosen = backends() if options.backend == "all" else [options.backend]
    seed = options.seed
    seconds = options.seconds
    if seed is None:
        seed = random.SystemRandom().randrange(1_000_000_000)
    elif seconds is None and options.count is None:
        options.count = 1
    if options.show:
        for mode in modes:
            print(source(make(mode, seed, chosen[0])))
        return 0
    if seconds is None and options.count is None:
        seconds = 60.0
    print(f"seeds from {seed} on, {', '.join(modes)}, on {', '.join(chosen)}", flush=True)
    prepare()
    hunt = Hunt(lambda text: print(text, flush=True), shrink_seconds=options.shrink)
    try:
        hunt.run(modes, chosen, seed, seconds, options.count)
    except KeyboardInterrupt:
        print("interrupted")
    for signature, count in hunt.seen.items():
        print(f"{count:5}  {' '.join(signature)[:150]}")
    print(f"{hunt.count} programs, {sum(hunt.seen.values())} failed in {len(hunt.seen)} ways")
    return 1 if hunt.failures else 0


if __name__ == "__main__":
    sys.exit(main())
