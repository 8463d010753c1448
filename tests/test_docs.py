"""The documents: links that lead somewhere, examples that compile, and nothing public left out."""

import ast
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.fastaio_only

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("bench/*.md")])
PYTHON = re.compile(r"^( *)```python\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)


# What the examples use without having it.
GIVEN = """
import asyncio
from typing import Any
import fastaio
loop: fastaio.EventLoop
fd: int
text: str
task: asyncio.Task[None]
async def main() -> None: ...
async def serve_a_thousand_requests() -> None: ...
async def example() -> None:
"""


def examples(page):
    for indent, code in PYTHON.findall(page.read_text()):
        yield "\n".join(line.removeprefix(indent) for line in code.splitlines())


def slug(heading):
    """The anchor of a heading, as both GitHub and mkdocs make it."""
    text = re.sub(r"[^\w\- ]", "", heading.replace("`", "").strip().lower())
    return re.sub(r" +", "-", text)


def anchors(page):
    return {
        slug(line.lstrip("#")) for line in page.read_text().splitlines() if line.startswith("#")
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), target
        if page.parent.name == "docs":
            assert linked.parent == page.parent, f"the site has no such page: {target}"
        if anchor:
            assert anchor in anchors(linked), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_examples_compile(page):
    for code in examples(page):
        compile(code, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.timeout(180)
def test_examples_have_right_types(tmp_path):
    """mypy --strict accepts the examples; those of architecture.md are sketches of classes."""
    pytest.importorskip("mypy")
    files = []
    for page in PAGES:
        for number, code in enumerate(examples(page) if page.stem != "architecture" else ()):
            files.append(tmp_path / f"{page.stem.lower()}_{number}.py")
            files[-1].write_text(GIVEN + textwrap.indent(code, "    ") + "\n")
    assert len(files) > 8
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental"]
    ignored = ["--disable-error-code=import-not-found", "--disable-error-code=import-untyped"]
    result = subprocess.run(
        [*command, *ignored, "--follow-imports=silent", *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert result.returncode == 0, result.stdout


def test_the_index_leads_to_every_page():
    index = (ROOT / "docs/index.md").read_text()
    menu = (ROOT / "mkdocs.yml").read_text()
    for page in ROOT.glob("docs/*.md"):
        if page.name != "index.md":
            assert f"]({page.name})" in index, page.name
            assert f": {page.name}\n" in menu, page.name


def variables(paths):
    """The names of environment variables among the constants of Python files."""
    found = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= set(re.findall(r"^FASTAIO_[A-Z_]*[A-Z]$", node.value))
    return found


def test_environment_variables():
    """Each variable that the package reads has its row, and each row its variable."""
    page = (ROOT / "docs/environment.md").read_text()
    read = variables(ROOT.glob("fastaio/**/*.py"))
    for path in ROOT.glob("src/**/*.[ch]"):
        read |= set(re.findall(r'getenv\("(\w+)"', path.read_text()))
    rows = set(re.findall(r"^\| `(FASTAIO_\w+)`", page, re.M))
    assert rows == read - {"FASTAIO_CHECK"}  # only --check uses it, between its two processes
    built = variables([ROOT / "setup.py"])
    assert len(built) == 4
    assert built == set(re.findall(r"`(FASTAIO_\w+)`", page)) - rows


def test_public_names():
    fastaio = pytest.importorskip("fastaio")
    text = "".join(page.read_text() for page in ROOT.glob("docs/*.md"))
    primitives = {name for names in fastaio.primitives.NAMES.values() for name in names}
    reference = (ROOT / "docs/api.md").read_text()
    for name in set(fastaio.__all__) - primitives - {"__version__"}:
        assert f"fastaio.{name}" in reference, name
    for name in primitives:
        assert re.search(rf"`{name}(\(\))?`", text), name
    for path, names in (("recorder", ["Stall"]), ("accounts", ["Account", "Accounts"])):
        assert all(f"::: fastaio.{path}.{name}" in reference for name in names)
    from fastaio import telemetry

    for name in telemetry.__all__:
        assert f"::: fastaio.telemetry.{name}\n" in reference, name


def test_the_command_line():
    """Each option of ``python -m fastaio`` has its row."""
    from fastaio.__main__ import make_parser

    reference = (ROOT / "docs/api.md").read_text()
    for action in make_parser()._actions:
        for option in action.option_strings:
            if option not in ("-h", "--help"):
                assert f"| `{option}" in reference, option
