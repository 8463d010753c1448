"""``python -m fastaio script.py``: run a program as ``python`` would, on fastaio's loops."""

from __future__ import annotations

import argparse
import os
import runpy
import sys
from types import ModuleType

from . import backend, policy
from ._fastaio import Loop


def split(arguments: list[str]) -> list[str]:
    """The arguments, with "-mMODULE" and "-cCODE" in two: only then argparse leaves the rest.

    "--", which ends python's options, goes; argparse would keep it.
    """
    for index, argument in enumerate(arguments):
        if argument == "--":
            return [*arguments[:index], *arguments[index + 1 :]]
        if argument[:2] in ("-m", "-c"):
            if len(argument) > 2:
                return [*arguments[:index], argument[:2], argument[2:], *arguments[index + 1 :]]
            break
        if not argument.startswith("--backend") and arguments[index - 1 : index] != ["--backend"]:
            break  # a script: what follows is its own
    return arguments


def parse(arguments: list[str]) -> argparse.Namespace:
    """What to run; what to run it on goes to the environment, for child processes as well."""
    parser = argparse.ArgumentParser(
        prog="python -m fastaio",
        usage="%(prog)s [--backend NAME] (script.py | -m module | -c code) [argument ...]",
        description="Run a program as python would; its new event loops are fastaio's.",
    )
    parser.add_argument(
        "--backend", default=None, metavar="NAME", help="auto, epoll or io_uring (default: auto)"
    )
    # What follows -m, -c or the script is the program's own.
    parser.add_argument("-m", dest="module", nargs=argparse.REMAINDER, help="run a module")
    parser.add_argument("-c", dest="code", nargs=argparse.REMAINDER, help="run code")
    parser.add_argument("script", nargs=argparse.REMAINDER, help="run a file")
    options = parser.parse_args(split(arguments))
    if not (options.module or options.code or options.script):
        parser.error("nothing to run: a script, -m module or -c code")
    if options.backend is not None:
        os.environ[backend.ENVIRONMENT_VARIABLE] = options.backend
    try:
        # A wrong name is told now, not by the first loop.
        backend.open_backend(lambda name: Loop(name)._close_native())
    except (ValueError, OSError) as error:
        parser.error(str(error))
    return options


def run_code(code: str) -> None:
    """``python -c``."""
    main = ModuleType("__main__")
    main.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = main
    exec(compile(code, "<string>", "exec", dont_inherit=True), main.__dict__)


def main(arguments: list[str]) -> None:
    """Install fastaio's loops, then run what the command line names."""
    options = parse(arguments)
    policy.install()
    if options.module:
        sys.argv = options.module
        runpy.run_module(options.module[0], run_name="__main__", alter_sys=True)
    elif options.code:
        sys.argv = ["-c", *options.code[1:]]
        run_code(options.code[0])
    else:
        sys.argv = options.script
        sys.path[0] = os.path.dirname(os.path.abspath(options.script[0]))
        runpy.run_path(options.script[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
