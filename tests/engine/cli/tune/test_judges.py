"""Protects how pictures are judged: by the segmenter, by likeness, by a function of the user's."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fgdm.cli import command, tune
from fgdm.errors import RequestError
from PIL import Image

from tests.engine.cli.tune.tunable import FakeEngine, factor, write_manifest


def holds_what_is_bright(picture: Image.Image, classes: list[str]) -> float:
    """A judge to name on the command line: 105 is too bright."""
    return 1.0 if np.asarray(picture).max() < 105 else 0.0


def test_a_judge_sees_the_pictures(
    engine: FakeEngine, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []

    def judge(picture: Image.Image, classes: Any) -> float:
        seen.append(list(classes))
        return holds_what_is_bright(picture, classes)

    monkeypatch.setattr(tune, "load_judge", lambda name: judge)
    assert command.main(["tune", str(bundle), "--judge", "a:b", "--write", "--quiet"]) == 0
    # 40 // 10 is 4: 104 is dark enough; 8 steps are 105.
    assert factor(bundle, "image")["num_inference_steps"] == 10
    assert factor(bundle, "image")["cache_interval"] == 1
    assert ["dog"] in seen or all(seen), "it is told what was requested"


@pytest.mark.parametrize("judge", [None, "segmenter", "psnr"])
def test_the_bundles_own_segmenter_judges_unless_likeness_is_asked_for(
    engine: FakeEngine,
    bundle: Path,
    judge: str | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    engine.manifest["segmenter"] = "segmenter"
    write_manifest(bundle, engine.manifest)

    def segment(picture: Image.Image) -> Any:
        """All classes, a pixel each, of what isn't too bright; else the first, a dog, alone."""
        return np.array([[0, 1, 2, 2]], np.uint8) * int(np.asarray(picture).max() < 105)

    engine.segment = segment  # type: ignore[attr-defined]
    given = [] if judge is None else ["--judge", judge]
    assert command.main(["tune", str(bundle), *given, "--psnr", "35", "--write", "--quiet"]) == 0
    measure = "PSNR of the picture" if judge == "psnr" else "recall of the picture, by the judge"
    assert f"image: {measure}" in capsys.readouterr().out
    # 40 // 10 is 4: 104 is dark enough; 8 steps are 105.
    assert factor(bundle, "image")["num_inference_steps"] == (6 if judge == "psnr" else 10)


def test_a_bundle_without_a_segmenter_cannot_judge_by_it(
    engine: FakeEngine, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["tune", str(bundle), "--judge", "segmenter"]) == 2
    assert "none that could judge pictures; give --judge psnr" in capsys.readouterr().err
    assert engine.calls == []


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (7, "gave 7; expected a recall, 0 to 1"),
        (float("nan"), "gave nan"),
        (None, "gave None"),
        ("much", "gave 'much'"),
        (ValueError("no weights"), "raised ValueError: no weights (of a picture for 'a"),
    ],
)
def test_a_judge_that_gives_no_recall_is_found_at_once(
    engine: FakeEngine,
    bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: object,
    words: str,
) -> None:
    def judge(picture: Image.Image, classes: object) -> object:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(tune, "load_judge", lambda name: judge)
    assert command.main(["tune", str(bundle), "--judge", "a:b"]) == 2
    assert words in capsys.readouterr().err
    assert len(engine.calls) == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def f(picture, classes): return 1.0", None),
        ("raise OSError('no weights')", "OSError: no weights"),
        ("def (", "SyntaxError"),
    ],
)
def test_a_judge_of_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, told: str | None
) -> None:
    """As docs/tuning.md has it; a command that is installed doesn't look there by itself."""
    name = f"judge_{abs(hash(text))}"
    (tmp_path / f"{name}.py").write_text(text + "\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    if told is None:
        assert tune.load_judge(f"{name}:f")(Image.new("RGB", (1, 1)), []) == 1.0
        return
    with pytest.raises(RequestError, match=told):
        tune.load_judge(f"{name}:f")
