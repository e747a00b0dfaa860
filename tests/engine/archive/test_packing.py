"""What goes into an archive comes out, by ``fgdm pack`` and ``fgdm unpack``."""

from __future__ import annotations

import errno
import os
import shutil
import struct
import zipfile
from pathlib import Path
from typing import IO, Any

import pytest
from fgdm.cli.command import main
from fgdm.errors import BundleError, RequestError
from fgdm.file_tree import Archive, FileTree, Folder
from fgdm.files import OutputError
from fgdm.inspect import describe
from fgdm.manifest import read_manifest
from fgdm.packing import pack, unpack
from fgdm.plans import find_plans

from tests.engine.archive.conftest import SCENES
from tests.engine.archive.spoiling import altered_inside


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


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
