"""The picture that export compares with diffusers before a bundle appears: what it finds, and that
it can be left out by name only."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from fgdm.export import bundle, reference
from fgdm.export.cli import run
from fgdm.export.errors import ExportError
from fgdm.export.picture import check_picture

from tests.export.test_cli import options, parse
from tests.tiny_models import TinyCheckpoint

pytest.importorskip("fgdm._core", reason="the compiled core isn't built")


def another_schedule(schedule: dict[str, Any], sampler: str, spacing: str | None) -> Any:
    return MAKE({**schedule, "beta_end": 0.02}, sampler, spacing)


def another_sampler(schedule: dict[str, Any], sampler: str, spacing: str | None) -> Any:
    return MAKE(schedule, "dpmsolver++", spacing)


MAKE = reference.make_scheduler


def test_the_engine_paints_what_diffusers_paints(tiny_bundle: Path, tiny_fp16_bundle: Path) -> None:
    """Far below what is allowed, so that what is allowed finds faults."""
    assert check_picture(tiny_bundle) < 1e-4
    assert check_picture(tiny_fp16_bundle) < 5e-3


@pytest.mark.parametrize("other", [another_schedule, another_sampler])
def test_another_way_of_sampling_is_found(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, other: Any
) -> None:
    monkeypatch.setattr(reference, "make_scheduler", other)
    with pytest.raises(ExportError, match=r"map's latents .* differs from diffusers' by .* 2e-03"):
        check_picture(tiny_bundle)


def test_another_picture_from_the_same_map_is_found(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here one without its ControlNet."""
    monkeypatch.setattr(reference, "_all_residuals", lambda *arguments: {})
    with pytest.raises(ExportError, match=r"the picture of the written bundle differs"):
        check_picture(tiny_bundle)


def test_other_tokens_are_found(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = reference.Reference.token_ids
    monkeypatch.setattr(reference.Reference, "token_ids", lambda self, text: ids(self, text[:-1]))
    with pytest.raises(ExportError, match=r"the engine reads 'a photo of person.*--tokenizer"):
        check_picture(tiny_bundle)


def test_a_bundle_that_the_engine_does_not_open(tiny_bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_bundle, tmp_path / "bundle")
    path = tmp_path / "bundle/manifest.json"
    content = json.loads(path.read_text())
    content["scheduler"]["beta_schedule"] = "sinusoidal"
    path.write_text(json.dumps(content))
    with pytest.raises(ExportError, match=r"can't run what was exported: .*manifest.*--no-check"):
        check_picture(tmp_path / "bundle")


def test_export_writes_nothing_where_it_differs(
    tiny_checkpoint: TinyCheckpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(reference, "make_scheduler", another_schedule)
    assert run(parse(*options(tiny_checkpoint, tmp_path / "bundle"))) == 1
    assert "No bundle was written" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("flags", "checks"), [([], True), (["--no-check"], False)])
def test_only_the_option_leaves_it_out(
    tiny_checkpoint: TinyCheckpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: list[str],
    checks: bool,
) -> None:
    painted: list[Path] = []

    def paint(root: Path) -> float:
        painted.append(root)
        return 0.0

    monkeypatch.setattr(bundle, "check_picture", paint)
    monkeypatch.setattr(bundle, "export_graphs", lambda *arguments: [])
    assert run(parse(*options(tiny_checkpoint, tmp_path / "bundle"), *flags)) == 0
    assert len(painted) == checks
