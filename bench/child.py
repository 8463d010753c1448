"""One measurement: a fresh process that runs one cell on one loop and prints JSON lines.

Started by runner.py as `python -P child.py SPEC`, SPEC being JSON. With `-P` neither this folder
nor the current one comes before the installed packages, so what is measured is what is installed;
the tree is only added behind them, for `bench` itself and for loops that are built in place.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))

from bench import loops, sockets, system  # noqa: E402
from bench.cells import Context, Served, Settings, Work, find  # noqa: E402

Report = Callable[[dict[str, object]], None]


def private_stdout() -> Report:
    """Move standard output aside, so that a library's chatter cannot mix with the answer."""
    stream = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def report(answer: dict[str, object]) -> None:
        print(json.dumps(answer), file=stream, flush=True)

    return report


def probe(name: str, report: Report) -> None:
    """Say whether the loop is there, and which version."""
    loop = loops.make(name)
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    report({"version": loops.version(name)})


def serve(cell: Served, context: Context, report: Report) -> None:
    """Run the server of a cell until the parent ends this process."""
    loop = context.new_loop()
    sock = sockets.listening(cell.load.cubic)
    port = sock.getsockname()[1]  # asked now: some loops take the descriptor away

    async def main() -> None:
        server = await cell.serve(sock)
        gc.collect()
        gc.freeze()
        report({"port": port})
        await loop.create_future()
        del server

    loop.run_until_complete(main())


def main() -> None:
    """Do what the specification says."""
    spec = json.loads(sys.argv[1])
    report = private_stdout()
    system.allow_files()
    name: str = spec["loop"]
    if "cell" not in spec:
        probe(name, report)
        return
    cell = find(spec["cell"])
    context = Context(name, Settings(**spec["settings"]), *spec["cores"])
    if isinstance(cell, Served):
        serve(cell, context, report)
    elif isinstance(cell, Work):
        report(dict(cell.run(context)))


if __name__ == "__main__":
    main()
