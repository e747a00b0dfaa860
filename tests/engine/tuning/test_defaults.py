"""What is written is a manifest that an engine takes, with its hash, or nothing at all."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from fgdm import manifest
from fgdm.errors import BundleError
from fgdm.file_tree import FileTree
from fgdm.files import OutputError
from fgdm.manifest import read_checked, read_manifest
from fgdm.tuning.defaults import check_writable, write_defaults

SCENES = Path(__file__).parents[3] / "bundles/scenes"
FIELDS: dict[str, dict[str, Any]] = {
    "segmentation": {"num_inference_steps": 5, "timestep_spacing": "trailing", "wave": 2},
    "image": {"num_inference_steps": 7, "cache_interval": 3, "cache_level": 2},
}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """The shipped bundle's manifest and hash, which is all that is read."""
    for name in ("manifest.json", "manifest.sha256"):
        shutil.copyfile(SCENES / name, tmp_path / name)
    return tmp_path


def contents(bundle: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in bundle.iterdir()}


def test_fields_are_set_and_all_else_stays(bundle: Path) -> None:
    before = (bundle / "manifest.json").read_text()
    write_defaults(bundle, before, FIELDS)
    text = (bundle / "manifest.json").read_bytes()
    recorded = (bundle / "manifest.sha256").read_text().split()
    assert recorded == [hashlib.sha256(text).hexdigest(), "manifest.json"]
    expected = json.loads(before)
    for factor in expected["factors"]:
        factor.update(FIELDS.get(factor["name"], {}))
    assert json.loads(text) == expected
    assert read_manifest(bundle).factors[-1].cache_interval == 3
    assert sorted(path.name for path in bundle.iterdir()) == ["manifest.json", "manifest.sha256"]


@pytest.mark.parametrize(
    "fields",
    [
        {"image": {"timestep_spacing": "sideways"}},
        {"image": {"cache_interval": 2, "cache_level": 9}},
        {"segmentation": {"num_inference_steps": 0}},
        {"segmentation": {"wave": -1}},
    ],
)
def test_what_an_engine_would_refuse_is_not_written(
    bundle: Path, fields: dict[str, dict[str, Any]]
) -> None:
    before = contents(bundle)
    with pytest.raises(BundleError):
        write_defaults(bundle, before["manifest.json"].decode(), fields)
    assert contents(bundle) == before


def test_a_manifest_that_was_changed_meanwhile_stays(bundle: Path) -> None:
    measured = (bundle / "manifest.json").read_text()
    write_defaults(bundle, measured, {"image": {"num_inference_steps": 9}})
    before = contents(bundle)
    with pytest.raises(BundleError, match="tune again"):
        write_defaults(bundle, measured, FIELDS)
    assert contents(bundle) == before


def test_an_error_between_the_two_files_puts_the_old_ones_back(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(bundle)
    replace, failures = Path.replace, iter([False, True])

    def failing(self: Path, target: Path) -> Path:
        if next(failures, False):
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(OutputError, match="No space left"):
        write_defaults(bundle, before["manifest.json"].decode(), FIELDS)
    assert contents(bundle) == before


class Killed(BaseException):
    """The process is gone: nothing that cleans up runs any more."""


@pytest.mark.parametrize("after", [0, 1, 2])
def test_whenever_it_is_killed_the_bundle_is_valid(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    before = (bundle / "manifest.json").read_bytes()
    replace = Path.replace
    done: list[str] = []

    def killed(self: Path, target: Path) -> Path:
        if len(done) == after:
            raise Killed
        done.append(target.name)
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(Killed):
            write_defaults(bundle, before.decode(), FIELDS)
    assert done == ["manifest.sha256", "manifest.json", "manifest.sha256"][:after]
    assert (read_checked(bundle) == before) == (after < 2)
    # The next one tidies up.
    write_defaults(bundle, read_checked(bundle).decode(), FIELDS)
    assert len((bundle / "manifest.sha256").read_text().splitlines()) == 1


def test_a_reader_meets_one_manifest_or_the_other(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both files are replaced between the reader's two reads."""
    before = (bundle / "manifest.json").read_text()
    read = manifest._read
    turns: list[str] = []

    def slow(files: FileTree, name: str) -> bytes:
        content = read(files, name)
        if not turns:
            turns.append(name)
            monkeypatch.setattr(manifest, "_read", read)
            write_defaults(bundle, before, FIELDS)
            monkeypatch.setattr(manifest, "_read", slow)
        return content

    monkeypatch.setattr(manifest, "_read", slow)
    assert read_checked(bundle) == (bundle / "manifest.json").read_bytes()


def test_a_read_only_manifest_stays(bundle: Path) -> None:
    """Its folder would allow a new one in its place."""
    (bundle / "manifest.json").chmod(0o444)
    before = contents(bundle)
    with pytest.raises(OutputError, match=r"manifest\.json: it is read-only; make"):
        check_writable(bundle)
    with pytest.raises(OutputError, match=r"manifest\.json: it is read-only; make"):
        write_defaults(bundle, before["manifest.json"].decode(), FIELDS)
    assert contents(bundle) == before


def test_the_mode_of_the_files_stays(bundle: Path) -> None:
    for name, mode in (("manifest.json", 0o660), ("manifest.sha256", 0o600)):
        (bundle / name).chmod(mode)
    write_defaults(bundle, (bundle / "manifest.json").read_text(), FIELDS)
    assert (bundle / "manifest.json").stat().st_mode & 0o777 == 0o660
    assert (bundle / "manifest.sha256").stat().st_mode & 0o777 == 0o600
