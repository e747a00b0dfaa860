"""A CUDA library is trimmed to one card's code: a container made by hand, and what must not be."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest
import zstandard

from gpu.trim import Code, find_code, kernel_names, trim


def entry(architecture: int, payload: bytes, compressed: bool) -> bytes:
    stored = zstandard.ZstdCompressor().compress(payload) if compressed else payload
    size = len(stored) if compressed else 0
    header = struct.pack("<HHIQIIHHI", 2, 0, 64, len(stored), size, 0, 0, 0, architecture)
    return header.ljust(64, b"\0") + stored


def container(*entries: bytes) -> bytes:
    body = b"".join(entries)
    return struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(body)) + body


def machine_code(*kernels: str) -> bytes:
    return b"\0".join(b".text." + kernel.encode() for kernel in kernels) + b"\0" * 40


SECTION = container(
    entry(80, machine_code("_Z3addv"), True), entry(90, machine_code("_Z3addv"), True)
) + bytes(8)
SECTION += container(entry(90, machine_code("_Z7moe_addv", "_Z7moe_mulv"), False))


@pytest.fixture
def code() -> list[Code]:
    return list(find_code(b"xx" + SECTION, 2, 2 + len(SECTION)))


def test_every_entry_is_found(code: list[Code]) -> None:
    assert [found.architecture for found in code] == [80, 90, 90]


def test_kernels_are_named_whether_compressed_or_not(code: list[Code]) -> None:
    names = [kernel_names(b"xx" + SECTION, found) for found in code]
    assert names == [{"_Z3addv"}, {"_Z3addv"}, {"_Z7moe_addv", "_Z7moe_mulv"}]


@pytest.mark.parametrize("damage", [b"\1" * 8, struct.pack("<IHHQ", 0xBA55ED50, 1, 16, 99)])
def test_what_is_no_container_is_refused(damage: bytes) -> None:
    section = SECTION + damage
    with pytest.raises(ValueError, match="container"):
        list(find_code(section, 0, len(section)))


def test_only_one_cards_code_stays_and_no_byte_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Elf:
        def __init__(self, _: object) -> None: ...

        def get_section_by_name(self, name: str) -> dict[str, int]:
            assert name == ".nv_fatbin"
            return {"sh_offset": 2, "sh_size": len(SECTION)}

    monkeypatch.setattr("gpu.trim.ELFFile", Elf)
    library = tmp_path / "library.so"
    library.write_bytes(b"xx" + SECTION + b"rest")
    old, kept, unused = find_code(b"xx" + SECTION, 2, 2 + len(SECTION))
    trimmed, left = trim(library, 90, re.compile("moe"))
    assert left == kept.size
    expected = bytearray(library.read_bytes())
    for gone in (old, unused):
        expected[gone.offset : gone.offset + gone.size] = bytes(gone.size)
    assert trimmed == expected
    with pytest.raises(ValueError, match="architecture 75"):
        trim(library, 75, re.compile("moe"))
