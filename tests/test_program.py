"""``python -m fastaio`` runs a program as ``python`` does: what the program sees is the same."""

import os
import py_compile
import subprocess
import sys
import zipapp

import pytest

from .support import GUARD

pytestmark = [
    pytest.mark.fastaio_only,
    pytest.mark.skipif(sys.version_info >= (3, 16), reason="policies end with 3.15"),
]

#: Prints what a program can see of itself.
LOOK = """
import json, sys
main = sys.modules["__main__"]
spec = main.__spec__
seen = {
    "argv": sys.argv,
    "path": sys.path[:2],
    "is main": main.__dict__ is globals(),
    "file": globals().get("__file__"),
    "name": __name__,
    "package": __package__,
    "doc": __doc__,
    "spec": spec and spec.name,
    "loader": getattr(__loader__, "__name__", type(__loader__).__name__),
    "pollution": sorted(name for name in globals() if not name.startswith("__")),
}
print(json.dumps(seen))
"""


@pytest.fixture
def folder(tmp_path):
    """A folder with the same program in each form."""
    (tmp_path / "script.py").write_text(LOOK)
    (tmp_path / "link.py").symlink_to(tmp_path / "docs" / "script.py")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "script.py").write_text('"""Has a docstring."""\n' + LOOK)
    py_compile.compile(str(tmp_path / "script.py"), str(tmp_path / "compiled.pyc"))
    for name in ("package", "package/inner", "application"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__main__.py").write_text(LOOK)
    (tmp_path / "package" / "__init__.py").write_text("")
    (tmp_path / "package" / "module.py").write_text("from . import inner\n" + LOOK)
    zipapp.create_archive(tmp_path / "application", tmp_path / "application.pyz")
    return tmp_path


def python(folder, *words, say=None, flags=(), fastaio=True):
    """Run words behind ``python`` or ``python -m fastaio``; return what the process did."""
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path if entry)
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("FASTAIO_", "PYTHON"))}
    return subprocess.run(
        [sys.executable, *flags, *(["-m", "fastaio"] if fastaio else []), *words],
        input=say,
        capture_output=True,
        text=True,
        timeout=2 * GUARD,
        check=False,
        cwd=folder,
        env={**variables, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
    )


@pytest.mark.parametrize("flags", [(), ("-P",)], ids=["plain", "safe path"])
@pytest.mark.parametrize(
    "words",
    [
        ["script.py", "-x", "argument"],
        ["docs/../docs/script.py"],
        ["link.py"],
        ["compiled.pyc"],
        ["application"],
        ["application.pyz", "argument"],
        ["-m", "package", "argument"],
        ["-m", "package.module"],
        ["-m", "package.inner"],
        ["-m", "script"],
        ["-", "argument"],
        ["-c", LOOK, "argument"],
    ],
    ids=lambda words: " ".join(words).replace(LOOK, "LOOK"),
)
def test_a_program_sees_itself_as_under_python(folder, words, flags):
    if flags and words[0] == "-m":
        flags = (*flags, "-X", "utf8")
        words = ["-m", "json.tool", "no such file"]  # the folder is not on the path
    say = LOOK if words[0] == "-" else None
    plain = python(folder, *words, say=say, flags=flags, fastaio=False)
    ours = python(folder, *words, say=say, flags=flags)
    assert ours.returncode == plain.returncode, ours.stderr
    expected = plain.stdout
    if words[0] in ("-c", "-") and not flags:  # python has "" there, and means the same folder
        expected = expected.replace('"path": ["",', f'"path": ["{os.path.realpath(folder)}",')
    assert ours.stdout == expected
    if plain.returncode == 0:
        assert ours.stderr == plain.stderr == ""


@pytest.mark.parametrize(
    "words",
    [
        ["-m", "package.missing"],
        ["-m", "empty"],
        ["empty"],
        ["no_such_folder/script.py"],
    ],
)
def test_what_cannot_run_is_told_as_python_tells_it(folder, words):
    (folder / "empty").mkdir()
    (folder / "empty" / "__init__.py").write_text("")
    plain = python(folder, *words, fastaio=False)
    ours = python(folder, *words)
    assert ours.returncode == plain.returncode != 0
    assert len(ours.stderr.splitlines()) == len(plain.stderr.splitlines()) == 1
    sentence = plain.stderr.split(": ", 1)[1].replace("[Errno 2] ", "")
    assert ours.stderr == f"python -m fastaio: {sentence}"


#: Fails in a function, in an exception's handler.
FAILS = """
def fail():
    try:
        {}["missing"]
    except KeyError:
        raise ValueError("told")

fail()
"""

#: The program has a hook of its own.
HOOKED = """
import sys

def hook(kind, error, traceback):
    same = traceback is error.__traceback__ is sys.last_traceback
    print(kind.__name__, error, traceback.tb_frame.f_code.co_name, same, sys.excepthook is hook)

sys.excepthook = hook
1 / 0
"""


@pytest.mark.parametrize(
    "source", [FAILS, HOOKED, "raise KeyboardInterrupt", "raise SystemExit('bye')", "1 +"]
)
@pytest.mark.parametrize("form", ["script", "-c", "-"])
def test_an_error_is_shown_as_python_shows_it(folder, form, source):
    (folder / "fails.py").write_text(source)
    words = {"script": ["fails.py"], "-c": ["-c", source], "-": ["-"]}[form]
    say = source if form == "-" else None
    plain = python(folder, *words, say=say, fastaio=False)
    ours = python(folder, *words, say=say)
    shown = (ours.returncode, ours.stdout, ours.stderr)
    assert shown == (plain.returncode, plain.stdout, plain.stderr)


#: Its thread and its exit function outlive its last line, and look for the class in __main__.
OUTLIVES = """
import atexit, pickle, threading

class Thing:
    pass

def look(who):
    threading.main_thread().join()
    print(who, pickle.loads(pickle.dumps(Thing())).__class__ is Thing)

atexit.register(lambda: print("exit", pickle.loads(pickle.dumps(Thing())).__class__ is Thing))
threading.Thread(target=look, args=["thread"]).start()
"""


@pytest.mark.parametrize("words", [["outlives.py"], ["-m", "outlives"], ["-c", OUTLIVES]])
def test_the_program_stays_main_until_the_process_ends(folder, words):
    (folder / "outlives.py").write_text(OUTLIVES)
    done = python(folder, *words)
    assert done.stderr == ""
    assert sorted(done.stdout.split("\n")) == ["", "exit True", "thread True"]


def test_the_file_of_a_script_stays_true_in_another_folder(folder):
    (folder / "moves.py").write_text("import os\nos.chdir('/')\nprint(open(__file__).readline())\n")
    assert python(folder, "moves.py").stdout == "import os\n\n"


def test_a_check_has_the_flags_of_the_interpreter(folder):
    (folder / "strict.py").write_text(
        "import asyncio, warnings\nwarnings.warn('strict')\nasyncio.run(asyncio.sleep(0))\n"
    )
    assert python(folder, "--check", "strict.py").returncode == 0
    done = python(folder, "--check", "strict.py", flags=("-W", "error"))
    assert done.returncode == 1
    assert "UserWarning: strict" in done.stderr
    assert "no event loop has started: the program has ended with 1" in done.stdout


def test_a_profiler_and_a_debugger_run_a_program(folder):
    (folder / "prog.py").write_text(
        "import asyncio\nasync def main():\n"
        "    print(type(asyncio.get_running_loop()).__module__)\nasyncio.run(main())\n"
    )
    assert "fastaio.loop" in python(folder, "-m", "cProfile", "prog.py").stdout
    assert "fastaio.loop" in python(folder, "-m", "pdb", "-c", "c", "-c", "q", "prog.py").stdout
    assert "fastaio.loop" in python(folder, "-m", "runpy", "prog").stdout
