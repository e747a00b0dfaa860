"""Takes out of a CUDA library the machine code that one card will never load.

A library built with nvcc carries its kernels for every architecture in the section .nv_fatbin: a
row of containers (one a source file), each a header and entries of machine code. The CUDA runtime
loads an entry when a kernel of it is first launched, on cards of its architecture only. What is
overwritten with zeros here stays in place, so that no address changes, and compresses to nothing.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import zstandard
from elftools.elf.elffile import ELFFile

#: The container: magic number, version, size of this header, size of what follows.
_CONTAINER = struct.Struct("<IHHQ")
_MAGIC = 0xBA55ED50
#: An entry: kind, (unknown), header and payload size, compressed size (0: not compressed),
#: (unknown), minor and major version, architecture (90 for compute capability 9.0).
_ENTRY = struct.Struct("<HHIQIIHHI")
_KERNEL = re.compile(rb"\.text\.([A-Za-z_]\w*)")


@dataclass(frozen=True)
class Code:
    """Machine code for one architecture: `size` bytes at `offset` of the file."""

    architecture: int
    offset: int
    size: int
    compressed: int


def find_code(data: bytes, begin: int, end: int) -> Iterator[Code]:
    """The entries of the section .nv_fatbin, which lies from `begin` to `end`.

    Raises ValueError where the bytes are neither padding nor a container that fits.
    """
    at = begin
    while at + _CONTAINER.size <= end:
        magic, _, header, size = _CONTAINER.unpack_from(data, at)
        if magic != _MAGIC:
            if any(data[at : at + 8]):
                raise ValueError(f"no container of machine code at byte {at}, and no padding")
            at += 8
            continue
        entry, last = at + header, at + header + size
        if last > end:
            raise ValueError(f"the container at byte {at} ends after its section")
        while entry < last:
            _, _, skip, payload, compressed, _, _, _, architecture = _ENTRY.unpack_from(data, entry)
            if skip < _ENTRY.size or entry + skip + payload > last:
                raise ValueError(f"the entry at byte {entry} ends after its container")
            yield Code(architecture, entry + skip, payload, compressed)
            entry += skip + payload
        at = last
    if any(data[at:end]):
        raise ValueError(f"no container of machine code at byte {at}, and no padding")


def kernel_names(data: bytes, code: Code) -> set[str]:
    """The mangled names of an entry's kernels."""
    machine_code = data[code.offset : code.offset + (code.compressed or code.size)]
    if code.compressed:
        machine_code = zstandard.ZstdDecompressor().decompress(
            machine_code, max_output_size=1 << 30
        )
    return {name.decode() for name in _KERNEL.findall(machine_code)}


def trim(library: Path, architecture: int, without: re.Pattern[str]) -> tuple[bytes, int]:
    """The library's bytes with code for `architecture` alone, and how many bytes of that are left.

    Of that code, too, entries go whose every kernel's name is matched by `without`: what the
    machine is known never to launch.
    """
    with library.open("rb") as file:
        section = ELFFile(file).get_section_by_name(".nv_fatbin")
        if section is None:
            raise ValueError(f"{library} has no section .nv_fatbin: it holds no CUDA kernels")
        begin, end = section["sh_offset"], section["sh_offset"] + section["sh_size"]
    data = library.read_bytes()
    trimmed, left = bytearray(data), 0
    for code in find_code(data, begin, end):
        if code.architecture == architecture:
            names = kernel_names(data, code)
            if not names or not all(without.search(name) for name in names):
                left += code.size
                continue
        trimmed[code.offset : code.offset + code.size] = bytes(code.size)
    if left == 0:
        raise ValueError(f"{library} holds no code for architecture {architecture}")
    return bytes(trimmed), left
