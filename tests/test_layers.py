"""The native half in layers: what a room includes and calls lies in a lower room, or in itself.

Two readings of the sources: their #include lines, and the symbols that their object files leave
undefined. docs/architecture.md shows the same order as a map.
"""

import os
import re
import shlex
import shutil
import subprocess
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

# All sources are compiled here, which may take a slow machine a while.
pytestmark = pytest.mark.timeout(600)

SOURCES = Path(__file__).parent.parent / "src" / "_fastaio"

# From low to high. Rooms of one layer do not know of each other.
LAYERS = [
    {"base"},
    {"poll", "signals"},
    {"loop"},
    {"task"},
    {"turn", "reader", "files", "jobs", "primitives"},
    {"transport"},
    {"net", "pipe"},
    {"tls"},
    {"module.c"},
]
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
# Only the front door knows what drives the loop.
ONLY_FOR_MODULE = {"turn"}
# Only these know the versions of CPython. What differs has a name there.
KNOW_VERSIONS = {"base/compat.h", "base/asyncio_versions.h"}
VERSION = re.compile(r"\b(?:PY_(?:\w+_)?VERSION(?:_HEX)?|Py_(?:Get)?Version)\b")
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


def room_of(path):
    return Path(path).parts[0]


def source_files(root):
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*.[ch]"))


def may_use(user, used):
    """Whether a file may know of another."""
    a, b = room_of(user), room_of(used)
    if a == b:
        return True
    return LEVEL[a] > LEVEL[b] and (b not in ONLY_FOR_MODULE or a == "module.c")


# The module's definition is the key by which a type finds its state: it is named, not called.
KEY = "fastaio_module"


def may_call(user, used, name):
    return name == KEY or may_use(user, used)


def unknown_rooms(root):
    return sorted({room_of(path) for path in source_files(root)} - LEVEL.keys())


def include_arrows(root):
    """(file, included file, the name that is written) for each include of a file of ours."""
    arrows = []
    for path in source_files(root):
        for name in INCLUDE.findall((root / path).read_text()):
            target = root / name
            if not target.exists():
                target = (root / path).parent / name
            arrows.append((path, target.resolve().relative_to(root.resolve()).as_posix(), name))
    return arrows


def version_lines(root):
    """The lines that name the version of CPython, outside of the headers that know it."""
    return [
        f"{path}:{number}"
        for path in source_files(root)
        if path not in KNOW_VERSIONS
        for number, line in enumerate((root / path).read_text().splitlines(), 1)
        if VERSION.search(line)
    ]


def compile_objects(root, build):
    """Object files of all sources, without optimisation: {source: object}."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[:1]
    flags = ["-std=c11", "-O0", "-Werror=undef", "-fPIC", "-D_GNU_SOURCE", f"-I{root}"]
    flags += ["-isystem", sysconfig.get_path("include")]
    sources = [path for path in source_files(root) if path.endswith(".c")]

    def compile_one(path):
        target = build / (path.replace("/", "-") + ".o")
        subprocess.run([*compiler, *flags, "-c", str(root / path), "-o", str(target)], check=True)
        return path, target

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(pool.map(compile_one, sources))


def symbol_arrows(objects):
    """(file, file that defines the symbol, the symbol) for each symbol that a file lacks."""
    defined, lacking = {}, []
    for path, target in objects.items():
        listing = subprocess.run(
            ["nm", "-P", str(target)], check=True, capture_output=True, text=True
        ).stdout
        for line in listing.splitlines():
            name, kind = line.split()[:2]
            if kind in "TDBRV":
                defined[name] = path
            elif kind == "U":
                lacking.append((path, name))
    return [(path, defined[name], name) for path, name in lacking if name in defined]


def upward(arrows):
    return [
        f"{user} -> {used} ({name})"
        for user, used, name in arrows
        if not may_call(user, used, name)
    ]


def circles(arrows):
    """Groups of files that use each other in a circle, a header counted with its source."""
    graph = {}
    for user, used, name in arrows:
        if name == KEY:
            continue
        a, b = (path.rsplit(".", 1)[0] for path in (user, used))
        graph.setdefault(a, set())
        if a != b:
            graph[a].add(b)
            graph.setdefault(b, set())
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph[node]):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    if shutil.which("nm") is None:
        pytest.skip("nm is missing")
    return symbol_arrows(compile_objects(SOURCES, tmp_path_factory.mktemp("objects")))


def test_every_file_is_in_a_room():
    assert unknown_rooms(SOURCES) == []


def test_includes_point_down():
    assert upward(include_arrows(SOURCES)) == []


def test_includes_name_the_room():
    """From the root of the sources, so that a reader sees which room it is."""
    short = [f"{user}: {name}" for user, used, name in include_arrows(SOURCES) if name != used]
    assert short == []


def test_calls_point_down(built):
    assert upward(built) == []


def test_files_have_an_order(built):
    """No file includes or calls, directly or over others, a file that does the same with it."""
    assert circles(include_arrows(SOURCES) + built) == []


def test_two_headers_know_the_version():
    assert version_lines(SOURCES) == []


def plant(root, **files):
    for name, text in files.items():
        path = root / (name.replace("__", "/") + ".c")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_planted_arrow_is_found(tmp_path):
    root = tmp_path / "sources"
    plant(
        root,
        loop__low='#include "net/high.h"\nint low(void) { return 1; }\n',
        net__high='#include "net/high.h"\nint low(void);\nint high(void) { return low(); }\n',
        task__middle="int high(void);\nint middle(void) { return high(); }\n",
        cellar__what="int what(void) { return 0; }\n",
    )
    (root / "net" / "high.h").write_text("int high(void);\n")
    build = tmp_path / "build"
    build.mkdir()
    assert unknown_rooms(root) == ["cellar"]
    assert upward(include_arrows(root)) == ["loop/low.c -> net/high.h (net/high.h)"]
    calls = symbol_arrows(compile_objects(root, build))
    assert ("net/high.c", "loop/low.c", "low") in calls
    assert upward(calls) == ["task/middle.c -> net/high.c (high)"]
    assert circles([*include_arrows(root), *calls]) == [["loop/low", "net/high"]]


def test_a_planted_circle_of_includes_is_found(tmp_path):
    plant(tmp_path, task__low='#include "task/low.h"\n#include "task/high.h"\n')
    (tmp_path / "task" / "low.h").write_text("int low(void);\n")
    (tmp_path / "task" / "high.h").write_text('#include "task/low.h"\n')
    assert circles(include_arrows(tmp_path)) == [["task/high", "task/low"]]


def test_a_planted_version_is_found(tmp_path):
    plant(tmp_path, task__low="\n#if PY_VERSION_HEX >= 0x030C0000\n#endif\n", base__compat="")
    (tmp_path / "base" / "compat.h").write_text("#define NEW (PY_VERSION_HEX >= 0x030C0000)\n")
    assert version_lines(tmp_path) == ["task/low.c:2"]


def test_a_planted_unknown_name_is_found(tmp_path):
    """In #if it would be 0: the code of another version, without a word."""
    plant(tmp_path, task__low="#if TASK_HAS_WINGS\n#endif\nint low(void) { return 1; }\n")
    with pytest.raises(subprocess.CalledProcessError):
        compile_objects(tmp_path, tmp_path)


def test_nothing_but_the_front_door_knows_what_drives_the_loop():
    assert may_use("module.c", "turn/loop_type.h")
    assert not may_use("net/stream.c", "turn/loop_type.h")
    assert not may_use("reader/streamreader.c", "files/file_op.h")
    assert may_use("net/stream.c", "loop/loop.h")
