"""USDT probes: those that the page names are in the extension's file, each a single nop."""

import asyncio
import ctypes
import platform
import re
import struct
import sys
import sysconfig
from pathlib import Path
from typing import NamedTuple

import pytest

from fastaio import _fastaio

pytestmark = pytest.mark.fastaio_only

PAGE = Path(__file__).parent.parent / "docs" / "probes.md"
NOPS = {"x86_64": b"\x90", "aarch64": b"\x1f\x20\x03\xd5"}
has_probes = pytest.mark.skipif(
    not _fastaio.HAS_PROBES, reason="<sys/sdt.h> was not there when the extension was built"
)


class Section(NamedTuple):
    name: str
    address: int  # 0 for one that is not loaded
    data: bytes


class Probe(NamedTuple):
    provider: str
    name: str
    arguments: list[str]
    code: bytes  # from the probe on


def sections(path):
    """Read the sections of a 64-bit ELF file with the least significant byte first."""
    file = path.read_bytes()
    assert file[:6] == b"\x7fELF\x02\x01"
    start, size, count, names = struct.unpack_from("<Q10xHHH", file, 0x28)
    headers = [struct.unpack_from("<IIQQQQ", file, start + index * size) for index in range(count)]
    texts = headers[names][4]
    for name, kind, _, address, offset, length in headers:
        end = file.index(b"\0", texts + name)
        data = b"" if kind == 8 else file[offset : offset + length]  # 8: takes no place in the file
        yield Section(file[texts + name : end].decode(), address, data)


def read_probes(path):
    found = list(sections(path))
    notes = next((section.data for section in found if section.name == ".note.stapsdt"), b"")
    offset = 0
    while offset < len(notes):
        name_size, size, _ = struct.unpack_from("<III", notes, offset)
        offset += 12 + (name_size + 3) // 4 * 4
        address, _, semaphore = struct.unpack_from("<QQQ", notes, offset)
        assert semaphore == 0  # nothing that a tracer has to switch on
        texts = notes[offset + 24 : offset + size].decode().split("\0")
        offset += (size + 3) // 4 * 4
        (code,) = (
            section.data[address - section.address :]
            for section in found
            if 0 < section.address <= address < section.address + len(section.data)
        )
        yield Probe(texts[0], texts[1], texts[2].split(), code[:8])


def documented():
    """By name: how many arguments the page gives a probe."""
    rows = re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    return {name: len(re.split("; |, (?=coroutine)", text)) for name, text in rows}


@has_probes
def test_the_file_has_the_probes_of_the_page():
    probes = list(read_probes(Path(_fastaio.__file__)))
    assert {probe.provider for probe in probes} == {"fastaio"}
    assert {probe.name: len(probe.arguments) for probe in probes} == documented()
    assert len(documented()) == 10


@has_probes
@pytest.mark.skipif(platform.machine() not in NOPS, reason="the nop of this machine is not known")
def test_a_probe_is_a_nop():
    nop = NOPS[platform.machine()]
    for probe in read_probes(Path(_fastaio.__file__)):
        assert probe.code.startswith(nop), probe


@pytest.mark.skipif(_fastaio.HAS_PROBES, reason="this build has probes")
def test_a_build_without_the_header_has_none():
    assert list(read_probes(Path(_fastaio.__file__))) == []


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the page says from 3.12 on")
@pytest.mark.skipif(bool(sysconfig.get_config_var("Py_GIL_DISABLED")), reason="it says with a GIL")
def test_where_the_page_finds_the_name_of_a_coroutine():
    (offsets,) = re.findall(r"\(arg1 \+ (\d+)\) \+ (\d+)\)", PAGE.read_text())
    of_name, of_text = map(int, offsets)
    coroutine = asyncio.sleep(0)
    try:
        name = ctypes.c_size_t.from_address(id(coroutine) + of_name).value
        assert name == id(coroutine.__qualname__)
        assert ctypes.string_at(name + of_text) == b"sleep"
    finally:
        coroutine.close()
