"""Running a program as ``python`` would: a script, a module, code, standard input, a prompt.

The program is the module ``__main__`` until the process ends: threads and exit functions that
outlive its last line find their names in there.
"""

from __future__ import annotations

import importlib.util
import linecache
import os
import pkgutil
import runpy
import sys
from importlib.machinery import (
    BuiltinImporter,
    ModuleSpec,
    SourceFileLoader,
    SourcelessFileLoader,
)
from types import CodeType, ModuleType, TracebackType
from typing import Any, NoReturn

__all__ = ("run",)


def run(command: list[str]) -> None:
    """Run what a command line of ``python`` names behind its options; nothing at all: a prompt.

    ``command`` is ``["-m", name, *arguments]``, ``["-c", code, *arguments]``,
    ``["-", *arguments]``, ``[path, *arguments]`` or ``[]``.
    """
    try:
        _run(command)
    except BaseException as error:
        _show_from_program_on(error)
        raise


def _show_from_program_on(error: BaseException) -> None:
    """Have the traceback that is about to be printed begin with the program's own frames."""
    if not hasattr(sys, "excepthook"):
        return
    hook, shown = sys.excepthook, error.__traceback__
    while shown is not None and shown.tb_frame.f_globals is globals():
        shown = shown.tb_next

    def show(kind: type[BaseException], error: BaseException, _: TracebackType | None) -> None:
        sys.excepthook = hook
        sys.last_traceback = error.__traceback__ = shown
        hook(kind, error, shown)

    sys.excepthook = show


def _run(command: list[str]) -> None:
    kind, *rest = command or [""]
    if kind == "-m":
        sys.argv = rest
        _run_module(rest[0])
    elif kind == "-c":
        sys.argv = ["-c", *rest[1:]]
        code = _compile(rest[0], "<string>")
        _show_lines(code, rest[0])
        _execute(code)
    elif kind == "" or (kind == "-" and sys.stdin.isatty()):
        _prompt()
    elif kind == "-":
        sys.argv = command
        _execute(_compile(sys.stdin.buffer.read(), "<stdin>"), __file__="<stdin>")
    else:
        sys.argv = command
        _run_path(kind)


def _run_module(name: str) -> None:
    """Run a module, or a package's module ``__main__``. End in one sentence if it is missing."""
    spec = _find_module(name)
    if spec is not None and spec.submodule_search_locations is not None:
        spec = _find_module(f"{name}.__main__")
        if spec is None:
            problem = f"{name!r} is a package and cannot be directly executed"
            _fail(f"No module named {name}.__main__; {problem}", 1)
    if spec is None:
        _fail(f"No module named {name}", 1)
    if spec.origin is not None:
        sys.argv[0] = spec.origin
    _run_spec(spec, name)


def _find_module(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except ModuleNotFoundError as error:  # of a package that the name begins with
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        return None


def _run_spec(spec: ModuleSpec, name: str) -> None:
    """Run the code of a module that has been found."""
    loader: Any = spec.loader
    code = loader.get_code(spec.name) if hasattr(loader, "get_code") else None
    if code is None:
        _fail(f"No code object available for {name}", 1)
    names = {"__cached__": spec.cached, "__package__": spec.parent, "__spec__": spec}
    _execute(code, __file__=spec.origin, __loader__=loader, **names)


def _run_path(name: str) -> None:
    """Run a script, or the module ``__main__`` of a folder or a zip file."""
    path = os.path.join(os.getcwd(), name)
    importer: Any = pkgutil.get_importer(path)
    if importer is not None:
        spec = importer.find_spec("__main__")
        if spec is None:
            _fail(f"can't find '__main__' module in {path!r}", 1)
        if not sys.flags.safe_path:
            del sys.path[0]
        sys.path.insert(0, path)
        _run_spec(spec, name)
        return
    loader = (SourcelessFileLoader if path.endswith(".pyc") else SourceFileLoader)("__main__", path)
    try:
        if isinstance(loader, SourcelessFileLoader):
            code: Any = loader.get_code("__main__")
        else:
            code = _compile(loader.get_data(path), path)
    except OSError as error:
        _fail(f"can't open file {path!r}: {error.strerror}", 2)
    if not sys.flags.safe_path:
        sys.path[0] = os.path.dirname(os.path.realpath(path))
    _execute(code, __file__=path, __loader__=loader, __cached__=None)


def _fail(problem: str, status: int) -> NoReturn:
    print(f"python -m fastaio: {problem}", file=sys.stderr)
    sys.exit(status)


def _show_lines(code: CodeType, source: str) -> None:
    """Have tracebacks show the lines of ``-c``, as they do from 3.13 on."""
    register = getattr(linecache, "_register_code", None)
    if register is not None:  # the first releases find them by the name
        register(
            code if hasattr(linecache, "_getline_from_code") else "<string>", source, "<string>"
        )


def _compile(source: str | bytes, name: str) -> CodeType:
    code: CodeType = compile(source, name, "exec", dont_inherit=True)
    return code


def _execute(code: CodeType, **names: object) -> None:
    """Run code as the module ``__main__``, which has these names."""
    main = ModuleType("__main__")
    main.__dict__.update({"__loader__": BuiltinImporter, **names, "__builtins__": __builtins__})
    sys.modules["__main__"] = main
    exec(code, main.__dict__)


def _prompt() -> None:
    """Show the prompt of ``python -m asyncio``, which knows top-level ``await``."""
    sys.argv = ["asyncio"]
    runpy.run_module("asyncio", run_name="__main__", alter_sys=True)
