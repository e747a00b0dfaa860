"""What can be wrong with an archive: each function makes a spoilt copy of a sound one."""

from __future__ import annotations

import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path


def rewritten(archive: Path, target: Path, change: Callable[[str], str | None]) -> Path:
    """An archive without the members for which `change` says None, others under the name it says;
    laid out as ``fgdm pack`` does."""
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(target, "w") as made:
        for info in source.infolist():
            name = change(info.filename)
            if name is None:
                continue
            member = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            assert made.fp is not None
            padding = -(made.fp.tell() + 30 + len(name) + 4) % 64
            member.extra = struct.pack("<HH", 0xD935, padding) + bytes(padding)
            made.writestr(member, source.read(info))
    return target


def deflated(archive: Path, target: Path) -> Path:
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(target, "w") as made:
        for info in source.infolist():
            made.writestr(info.filename, source.read(info), zipfile.ZIP_DEFLATED)
    return target


def encrypted(archive: Path, target: Path) -> Path:
    """The first member says that it is, in the directory."""
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    target.write_bytes(content)
    return target


def halved(archive: Path, target: Path) -> Path:
    content = archive.read_bytes()
    target.write_bytes(content[: len(content) // 2])
    return target


def with_twins(archive: Path, target: Path) -> Path:
    content = rewritten(
        archive, target, lambda name: "palette.jsom" if name == "manifest.sha256" else name
    ).read_bytes()
    target.write_bytes(content.replace(b"palette.jsom", b"palette.json"))
    return target


def far_away(archive: Path, target: Path) -> Path:
    """The directory says that the first member begins where no file can be read."""
    shutil.copy(archive, target)
    with zipfile.ZipFile(target, "a") as made:
        made.infolist()[0].header_offset = 2**63
        made.comment = b""  # so that the directory is written again
    return target


def directory_entry(content: bytearray, name: str) -> int:
    """Where the directory speaks of a member."""
    return content.rindex(name.encode()) - 46


def member_header(archive: Path, name: str) -> int:
    """Where a member's own header begins."""
    with zipfile.ZipFile(archive) as listed:
        return listed.getinfo(name).header_offset


def flipped(archive: Path, target: Path, name: str) -> Path:
    """One byte of a member's content."""
    content = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as listed:
        info = listed.getinfo(name)
    (size, extra) = struct.unpack_from("<HH", content, info.header_offset + 26)
    content[info.header_offset + 30 + size + extra + info.file_size // 2] ^= 1
    target.write_bytes(content)
    return target


def altered_inside(archive: Path, target: Path) -> Path:
    """A graph whose content isn't the manifest's, in an archive that is sound."""
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(target, "w") as made:
        for info in source.infolist():
            content = source.read(info)
            if info.filename == "backbone.onnx":
                content = content[:-1] + bytes([content[-1] ^ 1])
            made.writestr(info, content)
    return target


def too_long(archive: Path, target: Path, name: str) -> Path:
    """The directory says of a member that it goes on beyond the archive's end."""
    content = bytearray(archive.read_bytes())
    struct.pack_into("<LL", content, directory_entry(content, name) + 20, 2**30, 2**30)
    target.write_bytes(content)
    return target


def too_short(archive: Path, target: Path, name: str) -> Path:
    content = bytearray(archive.read_bytes())
    struct.pack_into("<LL", content, directory_entry(content, name) + 20, 1, 1)
    target.write_bytes(content)
    return target


def patched(archive: Path, target: Path, name: str) -> Path:
    """The directory and the member say that it is a patch of another file: bit 5."""
    content = bytearray(archive.read_bytes())
    header = member_header(archive, name)
    content[header + 6] |= 0x20
    content[directory_entry(content, name) + 8] |= 0x20
    target.write_bytes(content)
    return target


def misnamed(archive: Path, target: Path, name: str) -> Path:
    """The member's own header has another name, which isn't UTF-8."""
    content = bytearray(archive.read_bytes())
    header = member_header(archive, name)
    content[header + 7] |= 8
    content[header + 30] = 0xFF
    target.write_bytes(content)
    return target
