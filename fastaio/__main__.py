"""``python -m fastaio script.py``: run a program as ``python`` would, on fastaio's loops."""

from __future__ import annotations

import argparse
import os
import sys

from . import __version__, backend, policy, primitives, program
from ._fastaio import Loop

_USAGE = """%(prog)s [option ...] [script.py | -m module | -c code | -] [argument ...]
       %(prog)s --check [option ...] [script.py | -m module | -c code] [argument ...]
       %(prog)s --install-kernel
       %(prog)s top PID"""

# The options that take a value of their own.
_WITH_VALUE = frozenset({"--backend"})


def split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return the options of fastaio, and the program behind them with its arguments.

    The program begins with "-m", "-c", "-" or a path: ["-mNAME"] is given as ["-m", "NAME"].
    """
    index = 0
    while index < len(arguments):
        argument = arguments[index]
        if argument == "--":  # ends python's options
            return arguments[:index], arguments[index + 1 :]
        if argument[:2] in ("-m", "-c"):
            value = [argument[2:]] if len(argument) > 2 else []
            return arguments[:index], [argument[:2], *value, *arguments[index + 1 :]]
        if argument == "-" or not argument.startswith("-"):
            return arguments[:index], arguments[index:]
        index += 2 if argument in _WITH_VALUE else 1
    return arguments, []


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of fastaio's own options."""
    parser = argparse.ArgumentParser(
        prog="python -m fastaio",
        usage=_USAGE,
        description="Run a program as python would; its new event loops are fastaio's. "
        "Without a program: a prompt that knows await.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--backend", default=None, metavar="NAME", help="auto, epoll or io_uring (default: auto)"
    )
    parser.add_argument(
        "--primitives",
        action="store_true",
        help="put native locks, queues, sleep(), gather() and so on in the place of asyncio's",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="tell which loop the program runs on, where its first loop starts, and end there",
    )
    parser.add_argument(
        "--install-kernel",
        action="store_true",
        help="install a kernel for Jupyter that runs on fastaio, and end",
    )
    parser.add_argument("--version", action="version", version=f"fastaio {__version__}")
    return parser


def main(arguments: list[str]) -> None:
    """Install fastaio's loops, then run what the command line names."""
    if arguments[:1] == ["top"]:
        from . import top

        sys.exit(top.main(arguments[1:]))
    own, command = split(arguments)
    parser = make_parser()
    options = parser.parse_args(own)
    if command in (["-m"], ["-c"]):
        parser.error(f"argument {command[0]}: expected one argument")
    # What to run on goes to the environment, for child processes as well.
    if options.backend is not None:
        os.environ[backend.ENVIRONMENT_VARIABLE] = options.backend
        try:
            backend.open_backend(lambda name: Loop(name)._close_native(), options.backend)
        except (ValueError, OSError) as error:  # told now, not by the first loop
            parser.error(str(error))
    if options.primitives:
        os.environ[primitives.ENVIRONMENT_VARIABLE] = "1"
    if options.install_kernel:
        from . import kernel

        try:
            print(kernel.install([option for option in own if option != "--install-kernel"]))
        except ImportError as error:
            parser.error(str(error))
        return
    policy.install()
    if options.check:
        from .doors.check import check
        from .report import which

        if command:
            sys.exit(check(command))
        print(which())
        return
    program.run(command)


if __name__ == "__main__":
    main(sys.argv[1:])
