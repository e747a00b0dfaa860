"""Protects bundles in one file: what goes in comes out, an engine paints the same pictures from it,
and an archive that can't be used as it lies is refused with what to do."""

from __future__ import annotations

import errno
import mmap
import os
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import fgdm
import numpy as np
import pytest
from fgdm.cli.command import main
from fgdm.errors import BundleError, RequestError
from fgdm.file_tree import Archive, FileTree, Folder
from fgdm.files import OutputError
from fgdm.inspect import describe
from fgdm.manifest import read_manifest
from fgdm.packing import pack, unpack
from fgdm.plans import find_plans

MakeBundle = Callable[..., Path]

SCENES = Path(__file__).resolve().parents[2] / "bundles/scenes"


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped bundle as an archive."""
    archive = tmp_path_factory.mktemp("archive") / "scenes.fgdm"
    pack(SCENES, archive)
    return archive


@pytest.fixture
def bundle(make_bundle: MakeBundle) -> Path:
    """A small bundle with files that its manifest doesn't list."""
    made = make_bundle()
    (made / "plans/tensorrt").mkdir(parents=True)
    (made / "plans/profile.json").write_text("{}")
    (made / "plans/tensorrt/timing.cache").write_bytes(b"\x00" * 100)
    (made / "README.md").write_text("of the bundle")
    return made


def test_the_folder_comes_back_byte_for_byte(bundle: Path, tmp_path: Path) -> None:
    size = pack(bundle, tmp_path / "made/here.fgdm")
    assert size == (tmp_path / "made/here.fgdm").stat().st_size
    unpack(tmp_path / "made/here.fgdm", tmp_path / "back/again")
    assert contents(tmp_path / "back/again") == contents(bundle)
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["here.fgdm"]
    assert [path.name for path in (tmp_path / "back").iterdir()] == ["again"]


def test_the_same_files_make_the_same_bytes(bundle: Path, tmp_path: Path) -> None:
    pack(bundle, tmp_path / "one.fgdm")
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    for path in copy.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700)
    (copy / "plans/.lock").write_text("process 1")
    (copy / ".manifest.json.1.part").write_text("left over")
    pack(copy, tmp_path / "two.fgdm")
    assert (tmp_path / "one.fgdm").read_bytes() == (tmp_path / "two.fgdm").read_bytes()


def test_any_tool_can_list_it_and_members_lie_at_multiples_of_64(
    bundle: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "a.fgdm"
    pack(bundle, archive)
    whole = archive.read_bytes()
    with zipfile.ZipFile(archive) as listed:
        assert listed.testzip() is None
        assert {info.filename for info in listed.infolist()} == set(contents(bundle))
        for info in listed.infolist():
            name, extra = struct.unpack_from("<HH", whole, info.header_offset + 26)
            begin = info.header_offset + 30 + name + extra
            assert begin % 64 == 0 and info.compress_type == zipfile.ZIP_STORED
            assert whole[begin : begin + info.file_size] == (bundle / info.filename).read_bytes()


def test_links_go_in_as_what_they_lead_to(bundle: Path, tmp_path: Path) -> None:
    (bundle / "palette.json").rename(tmp_path / "elsewhere.json")
    (bundle / "palette.json").symlink_to(tmp_path / "elsewhere.json")
    pack(bundle, tmp_path / "a.fgdm")
    unpack(tmp_path / "a.fgdm", tmp_path / "back")
    assert not (tmp_path / "back/palette.json").is_symlink()
    assert contents(tmp_path / "back") == contents(bundle)


def test_folders_that_links_lead_to_go_in_as_folders(bundle: Path, tmp_path: Path) -> None:
    (bundle / "plans").rename(tmp_path / "elsewhere")
    (bundle / "plans").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/tensorrt" / f"{'0' * 64}.plan").write_bytes(b"plan")
    (plan,) = find_plans(bundle, read_manifest(bundle))
    assert plan.size == 4 and plan.obsolete
    pack(bundle, tmp_path / "a.fgdm")
    assert f"plans/tensorrt/{plan.key}.plan" in Archive(tmp_path / "a.fgdm").names()


def test_links_that_lead_in_circles_or_nowhere_are_left_out(bundle: Path, tmp_path: Path) -> None:
    before = Folder(bundle).names()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "notes").write_text("seen by two names")
    (outside / "back").symlink_to(bundle)
    for name, target in (("one", outside), ("two", outside), ("self", "self"), ("no", "where")):
        (bundle / name).symlink_to(target)
    (bundle / "plans/up").symlink_to("..")
    assert Folder(bundle).names() == sorted([*before, "one/notes", "two/notes"])


@pytest.mark.parametrize(
    "name", ["Icon\r", "left\u202eright", "back\\slash", "line\u2028", os.fsdecode(b"caf\xe9")]
)
def test_a_name_that_no_engine_takes_is_refused_before_anything_is_written(
    bundle: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (bundle / "notes").mkdir()
    (bundle / "notes" / name).write_text("stray")
    assert main(["pack", str(bundle), str(tmp_path / "made/a.fgdm")]) == 3
    said = capsys.readouterr().err
    assert ascii(f"notes/{name}") in said and "rename it or remove it" in said
    assert not (tmp_path / "made").exists()


def test_what_is_there_stays_unless_it_is_to_be_replaced(bundle: Path, tmp_path: Path) -> None:
    archive = tmp_path / "a.fgdm"
    archive.write_text("precious")
    with pytest.raises(OutputError, match="exists"):
        pack(bundle, archive)
    assert archive.read_text() == "precious"
    pack(bundle, archive, overwrite=True)
    link, pipe = tmp_path / "link.fgdm", tmp_path / "pipe"
    link.symlink_to(archive)
    pack(bundle, link, overwrite=True)
    assert link.is_symlink() and not archive.is_symlink()
    os.mkfifo(pipe)
    for place in (pipe, tmp_path):
        with pytest.raises(OutputError, match="no regular file"):
            pack(bundle, place, overwrite=True)
    assert pipe.is_fifo()
    with pytest.raises(OutputError, match="isn't empty"):
        unpack(archive, bundle)
    with pytest.raises(OutputError, match="own folder"):
        pack(bundle, bundle / "a.fgdm")
    with pytest.raises(RequestError, match="is an archive, and fgdm pack needs a folder"):
        pack(archive, tmp_path / "b.fgdm")
    with pytest.raises(RequestError, match="is a folder already"):
        unpack(bundle, tmp_path / "back")


def test_a_damaged_bundle_is_not_packed(bundle: Path, tmp_path: Path) -> None:
    graph = next(path for path in bundle.glob("*.onnx") if path.stat().st_size)
    content = bytearray(graph.read_bytes())
    content[0] ^= 1
    graph.write_bytes(content)
    with pytest.raises(BundleError, match=f"{graph.name} has been altered"):
        pack(bundle, tmp_path / "a.fgdm")
    assert not list(tmp_path.glob("*.fgdm*")) and not list(tmp_path.glob(".*"))


def test_messages_name_what_is_there_and_no_partial_file(bundle: Path, tmp_path: Path) -> None:
    archive = tmp_path / "a.fgdm"
    pack(bundle, archive)
    altered = altered_inside(archive, tmp_path / "b.fgdm")
    graph = bundle / "backbone.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"?")
    with pytest.raises(BundleError) as of_pack:
        pack(bundle, tmp_path / "c.fgdm")
    with pytest.raises(BundleError) as of_unpack:
        unpack(altered, tmp_path / "out")
    assert f"bundle {bundle} is damaged" in str(of_pack.value)
    assert f"bundle {altered} is damaged" in str(of_unpack.value)
    assert ".part" not in f"{of_pack.value} {of_unpack.value}"


@pytest.mark.parametrize("failing", ["size", "chunks"])
def test_a_file_that_cannot_be_read_is_the_bundles_fault(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    honest = getattr(Folder, failing)

    def fail(files: Folder, name: str) -> Any:
        if name == "README.md":
            raise PermissionError(errno.EACCES, "Permission denied")
        return honest(files, name)

    monkeypatch.setattr(Folder, failing, fail)
    with pytest.raises(
        BundleError, match=r"can't read .*README\.md: Permission denied; check its p"
    ):
        pack(bundle, tmp_path / "a.fgdm")
    assert not list(tmp_path.glob("*.fgdm*")) and not list(tmp_path.glob(".*"))


def test_where_there_is_no_room_another_place_is_asked_for(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "a.fgdm"
    pack(bundle, archive)

    def fail(files: FileTree, name: str, target: IO[bytes]) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("fgdm.packing._copy", fail)
    for job in (lambda: pack(bundle, tmp_path / "b"), lambda: unpack(archive, tmp_path / "b")):
        with pytest.raises(OutputError, match="b: No space left on device; choose another place"):
            job()
    assert not (tmp_path / "b").exists() and not list(tmp_path.glob(".*"))


def test_an_empty_folder_is_filled_but_not_the_current_one(
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    archive = tmp_path / "a.fgdm"
    pack(bundle, archive)
    for name in ("empty", "linked", "current"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("linked")
    unpack(archive, tmp_path / "empty")
    unpack(archive, tmp_path / "link")
    assert contents(tmp_path / "empty") == contents(tmp_path / "linked") == contents(bundle)
    monkeypatch.chdir(tmp_path / "current")
    for here in (".", str(tmp_path / "current")):
        assert main(["unpack", str(archive), here]) == 5
        assert f"{here} is the current folder; give another one" in capsys.readouterr().err
    assert main(["unpack", str(archive), ".."]) == 5
    assert main(["unpack", str(archive), "/"]) == 5
    assert "/ exists and isn't empty" in capsys.readouterr().err
    assert main(["unpack", str(archive), "./new"]) == 0


def test_inspect_says_the_same_of_both(bundle: Path, tmp_path: Path) -> None:
    archive = tmp_path / "a.fgdm"
    pack(bundle, archive)
    of_folder, of_archive = (describe(place, verify=True) for place in (bundle, archive))
    assert of_archive.to_json() | {"bundle": ""} == of_folder.to_json() | {"bundle": ""}
    assert of_archive.unlisted == ("README.md",)


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


DAMAGES: dict[str, tuple[Callable[[Path, Path], Path], str]] = {
    "compressed": (deflated, r"is compressed \(method 8\), expected stored"),
    "encrypted": (encrypted, "is encrypted"),
    "truncated": (halved, "cut short"),
    "outside": (
        lambda a, b: rewritten(a, b, lambda name: name.replace("palette", "../palette")),
        "doesn't stay inside the bundle",
    ),
    "unprintable": (
        lambda a, b: rewritten(a, b, lambda name: name.replace("palette", "palette\r")),
        "doesn't stay inside the bundle",
    ),
    "far away": (far_away, "cut short"),
    "twice": (with_twins, "two members called"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_archive_that_cannot_be_used_is_refused_with_what_to_do(
    bundle: Path, tmp_path: Path, damage: str
) -> None:
    spoil, words = DAMAGES[damage]
    whole = tmp_path / "whole.fgdm"
    pack(bundle, whole)
    archive = spoil(whole, tmp_path / "spoilt.fgdm")
    for opening in (Archive, describe, fgdm.Engine, lambda path: fgdm.Engine(path.read_bytes())):
        with pytest.raises(BundleError, match=words) as refusal:
            opening(archive)
        assert "fgdm pack" in str(refusal.value)
    with pytest.raises(BundleError, match=words):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists() and not (tmp_path / "palette.json").exists()


def directory_entry(content: bytearray, name: str) -> int:
    """Where the directory speaks of a member."""
    return content.rindex(name.encode()) - 46


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
    with zipfile.ZipFile(archive) as listed:
        header = listed.getinfo(name).header_offset
    content[header + 6] |= 0x20
    content[directory_entry(content, name) + 8] |= 0x20
    target.write_bytes(content)
    return target


def misnamed(archive: Path, target: Path, name: str) -> Path:
    """The member's own header has another name, which isn't UTF-8."""
    content = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as listed:
        header = listed.getinfo(name).header_offset
    content[header + 7] |= 8
    content[header + 30] = 0xFF
    target.write_bytes(content)
    return target


@pytest.mark.parametrize("spoil", [flipped, too_long, too_short, patched, misnamed])
def test_a_damaged_member_is_the_archives_fault(
    bundle: Path,
    tmp_path: Path,
    spoil: Callable[[Path, Path, str], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pack(bundle, tmp_path / "a.fgdm")
    name = Archive(tmp_path / "a.fgdm").names()[-1]
    archive = spoil(tmp_path / "a.fgdm", tmp_path / "spoilt.fgdm", name)
    with pytest.raises(OSError, match="it is damaged"):
        Archive(archive).sha256(name)
    assert main(["unpack", str(archive), str(tmp_path / "out/back")]) == 3
    said = capsys.readouterr().err
    assert str(archive) in said and "fetch a fresh copy" in said and "fgdm pack" in said
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr("fgdm.packing.check_archive", lambda _: None)  # where no core is built
    assert main(["unpack", str(archive), str(tmp_path / "out/back")]) == 3
    assert "it is damaged" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_member_that_the_manifest_names_must_be_there(scenes: Path, tmp_path: Path) -> None:
    archive = rewritten(
        scenes, tmp_path / "a.fgdm", lambda name: None if name == "palette.json" else name
    )
    with pytest.raises(BundleError, match=r"a\.fgdm/palette\.json is missing"):
        fgdm.Engine(archive)
    with pytest.raises(BundleError, match=r"palette\.json: No such file"):
        describe(archive)


def painted(engine: fgdm.Engine) -> list[bytes]:
    """A picture and its maps, in few steps."""
    result = engine.generate(
        "two dogs beside a house",
        seed=3,
        candidates=2,
        condition_steps=2,
        num_inference_steps=2,
        height=64,
        width=64,
        stop_at_recall=0.0,
    )
    return [result.image.tobytes(), *(one.map.tobytes() for one in result.candidates)]


def test_an_engine_paints_the_same_from_folder_archive_and_memory(scenes: Path) -> None:
    content = scenes.read_bytes()
    with scenes.open("rb") as stream, fgdm.Engine(SCENES, backend="cpu", threads=1) as engine:
        expected = painted(engine)
        seen = engine.segment(np.zeros((64, 64, 3), np.uint8))
        mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        for bundle in (scenes, str(scenes), content, memoryview(content), mapped):
            with fgdm.Engine(bundle, backend="cpu", threads=1) as other:
                assert painted(other) == expected, type(bundle)
                assert other.palette == engine.palette and other.manifest == engine.manifest
        with fgdm.Engine(scenes, backend="cpu", threads=1) as other:
            np.testing.assert_array_equal(other.segment(np.zeros((64, 64, 3), np.uint8)), seen)


def test_bytes_are_held_as_long_as_an_engine_needs_them(scenes: Path) -> None:
    content = bytearray(scenes.read_bytes())
    engine = fgdm.Engine(content, backend="cpu", threads=1)
    with pytest.raises(BufferError):
        content.append(0)  # it would move
    job = engine.submit("a dog", candidates=1, condition_steps=1, num_inference_steps=1)
    engine.close()
    del engine
    with pytest.raises(fgdm.CancelledError):
        job.result()
    content.append(0)


def test_what_holds_no_bytes_or_misplaced_ones_is_refused(scenes: Path) -> None:
    for wrong in (3, None, ["a"], np.zeros((4, 4), np.uint8)[:, ::2]):
        with pytest.raises(RequestError, match="bundle must be a path, or bytes without gaps"):
            fgdm.Engine(wrong)  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="no multiple of 16"):
        fgdm.Engine(memoryview(b"x" + scenes.read_bytes())[1:])


WRITERS = {
    "tune": ["tune", "ARCHIVE", "--write"],
    "profile": ["profile", "ARCHIVE"],
    "build": ["build", "ARCHIVE", "--target", "tensorrt"],
    "prune": ["build", "ARCHIVE", "--prune"],
    "compare": ["compare", "ARCHIVE", "--b", "openvino"],
    "export": ["export", "--add-segmenter", "x.onnx", "--into", "ARCHIVE"],
}


@pytest.mark.parametrize("command", WRITERS)
def test_what_needs_a_folder_says_to_unpack(
    bundle: Path, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "a.fgdm"
    pack(bundle, archive)
    before = archive.read_bytes()
    words = [str(archive) if word == "ARCHIVE" else word for word in WRITERS[command]]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "is an archive, and" in said and f"fgdm unpack {archive} FOLDER" in said
    assert archive.read_bytes() == before


def test_the_commands(
    bundle: Path,
    scenes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["pack", str(bundle)]) == 0
    assert f"wrote {bundle.name}.fgdm" in capsys.readouterr().out
    assert main(["pack", str(bundle)]) == 5
    assert main(["pack", str(bundle), "--overwrite"]) == 0
    assert main(["inspect", f"{bundle.name}.fgdm", "--verify"]) == 0
    assert main(["unpack", f"{bundle.name}.fgdm", "back"]) == 0
    assert contents(tmp_path / "back") == contents(bundle)
    assert main(["inspect", str(SCENES / "palette.json")]) == 3
    assert "fgdm pack" in capsys.readouterr().err
    few = ["--candidates", "1", "--condition-steps", "1", "--num-inference-steps", "1", "--quiet"]
    assert main(["generate", "a dog", "--bundle", str(scenes), "--seed", "1", *few]) == 0
    assert (tmp_path / "out/image.png").is_file()
