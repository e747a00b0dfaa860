"""An archive that can't be used as it lies is refused with what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import fgdm
import pytest
from fgdm.cli.command import main
from fgdm.errors import BundleError
from fgdm.file_tree import Archive
from fgdm.inspect import describe
from fgdm.packing import pack, unpack

from tests.engine.archive.spoiling import (
    deflated,
    encrypted,
    far_away,
    flipped,
    halved,
    misnamed,
    patched,
    rewritten,
    too_long,
    too_short,
    with_twins,
)

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
