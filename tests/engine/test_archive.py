"""Protects bundles in one file: what goes in comes out, an engine paints the same pictures from it,
and an archive that can't be used as it lies is refused with what to do."""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import fgdm
import numpy as np
import pytest
from fgdm.cli.command import main
from fgdm.errors import BundleError, RequestError
from fgdm.files import OutputError
from fgdm.inspect import describe
from fgdm.packing import pack, unpack

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


def test_what_is_there_stays_unless_it_is_to_be_replaced(bundle: Path, tmp_path: Path) -> None:
    archive = tmp_path / "a.fgdm"
    archive.write_text("precious")
    with pytest.raises(OutputError, match="exists"):
        pack(bundle, archive)
    assert archive.read_text() == "precious"
    pack(bundle, archive, overwrite=True)
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


DAMAGES: dict[str, tuple[Callable[[Path, Path], Path], str]] = {
    "compressed": (deflated, r"is compressed \(method 8\), expected stored"),
    "encrypted": (encrypted, "is encrypted"),
    "truncated": (halved, "cut short"),
    "outside": (
        lambda a, b: rewritten(a, b, lambda name: name.replace("palette", "../palette")),
        "doesn't stay inside the bundle",
    ),
    "twice": (with_twins, "two members called"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_archive_that_cannot_be_used_is_refused_with_what_to_do(
    scenes: Path, tmp_path: Path, damage: str
) -> None:
    spoil, words = DAMAGES[damage]
    archive = spoil(scenes, tmp_path / "spoilt.fgdm")
    for opening in (describe, fgdm.Engine, lambda path: fgdm.Engine(path.read_bytes())):
        with pytest.raises(BundleError, match=words) as refusal:
            opening(archive)
        assert "fgdm pack" in str(refusal.value)
    with pytest.raises(BundleError, match=words):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists() and not (tmp_path / "palette.json").exists()


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
    scenes: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = scenes.read_bytes()
    words = [str(scenes) if word == "ARCHIVE" else word for word in WRITERS[command]]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "is an archive, and" in said and f"fgdm unpack {scenes} FOLDER" in said
    assert scenes.read_bytes() == before


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
