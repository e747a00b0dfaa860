"""Protects the command: its figures against their definitions, what it calls them, its reports."""

from __future__ import annotations

import dataclasses
import html.parser
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fgdm.cli import command
from fgdm.evaluate import cli_run, metrics
from fgdm.evaluate.metrics import Evidence
from fgdm.evaluate.networks.dual_encoder import DualEncoderScore
from fgdm.evaluate.networks.functions import FunctionScorer
from fgdm.evaluate.networks.scenes import ScenesSegmenter
from fgdm.evaluate.reference import WorldScenes
from fgdm.evaluate.run_folder import RunFolder
from fgdm.train.classes import INDEX
from fgdm.train.segmenter import Segmenter
from PIL import Image
from safetensors.torch import save_file

PROMPTS = [
    {"prompt": "a <script>dog</script> & a kite", "objects": ["dog", "kite"]},
    {"prompt": "a dog | and the sun", "objects": ["dog", "sun"]},
    {"prompt": "a cat", "objects": ["cat"]},
    {"prompt": "a tree", "objects": ["tree"]},
]
ROOT = Path(__file__).parents[2]
Run = Callable[..., dict[str, Any]]


def redness(picture: Image.Image, prompt: str) -> float:
    assert prompt.startswith("a ")
    return float(np.asarray(picture)[..., 0].mean())


@pytest.fixture
def run(engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command on the fake engine, with a random segmenter; the results that it wrote."""
    monkeypatch.setattr(cli_run, "open_engine", lambda args, bundle: engine)
    torch.manual_seed(0)
    save_file(Segmenter().state_dict(), tmp_path / "segmenter.safetensors")
    (tmp_path / "prompts.json").write_text(json.dumps(PROMPTS))

    def called(*arguments: str, code: int = 0) -> dict[str, Any]:
        given = ["--prompts", str(tmp_path / "prompts.json"), "--output", str(tmp_path / "run")]
        given += ["--segmenter", str(tmp_path / "segmenter.safetensors"), "--quiet"]
        assert command.main(["evaluate", "run", "some/bundle", *given, *arguments]) == code
        found: dict[str, Any] = json.loads((tmp_path / "run/results.json").read_text())
        return found

    return called


TWO = ["--setting", 'cfg={"guidance": "cfg"}', "--setting", "own={}", "--candidates", "3"]
SCENES = ["--reference", "world:12"]


def test_every_figure_is_what_its_title_says(run: Run, tmp_path: Path) -> None:
    results = run(*TWO, *SCENES)
    network = ScenesSegmenter(tmp_path / "segmenter.safetensors")
    folder = RunFolder.read(tmp_path / "run")
    for setting, entry in zip(folder.plan.settings, results["settings"], strict=True):
        made = list(folder.made(setting))
        scores, totals = entry["scores"], entry["totals"]
        recalls = [[c["recall"] for c in one.result["candidates"]] for one in made]
        assert scores["map_recall"]["by_prompt"] == np.max(recalls, 1).tolist()
        assert entry["candidates"]["max"] == pytest.approx(np.max(recalls, 1).mean())
        assert entry["candidates"]["median"] == pytest.approx(np.median(recalls, 1).mean())
        seconds = [one.seconds for one in made]
        assert entry["pictures_per_second"] == pytest.approx(4 / sum(seconds))
        pictures = np.stack([one.picture() for one in made])
        seen = network.label(pictures)
        for one, labels, recall in zip(
            made, seen, scores["picture_recall"]["by_prompt"], strict=True
        ):
            wanted = [INDEX[name] for name in one.result["requested"]]
            assert recall == np.mean([np.mean(labels == i) >= 0.002 for i in wanted])
        own = np.stack([one.labels("segmentation") for one in made])
        both = [np.sum((own == i) & (seen == i)) for i in range(23)]
        either = [np.sum((own == i) | (seen == i)) for i in range(23)]
        share = [np.mean(own == i) for i in range(23)]
        ious = [b / e for b, e in zip(both, either, strict=True) if e]
        assert totals["miou"]["value"] == pytest.approx(np.mean(ious))
        weighted = sum(s * b / e for s, b, e in zip(share, both, either, strict=True) if e)
        assert totals["fwiou"]["value"] == pytest.approx(weighted)
        (real,) = WorldScenes(12, 128).batches(32)
        evidence = Evidence(network.see(pictures).features, network.see(real).features)
        key = "pictures/scenes segmenter"
        for name, metric in (
            ("frechet", metrics.frechet_distance),
            ("precision", metrics.precision),
            ("recall", metrics.recall),
            ("diversity", metrics.diversity),
        ):
            value = totals[f"{key}/{name}"]["value"]
            assert value == pytest.approx(metric(evidence), rel=1e-4, abs=1e-6)
        assert "maps/scenes segmenter/frechet" in totals
    assert [(c["setting"], c["against"]) for c in results["comparisons"]] == [("own", "cfg")]
    assert any("4 and 12 pictures with 128 features" in note for note in results["notes"])


def test_nothing_is_called_fid_that_isn_t(run: Run, tmp_path: Path) -> None:
    run(*TWO, *SCENES)
    for name in ("results.json", "report.md", "report.html"):
        text = (tmp_path / "run" / name).read_text()
        assert not re.search(r"\bFID\b", text) and "Inception" not in text
        assert "scenes segmenter" in text


def test_a_scorer_of_the_user_s_ranks_and_wins(run: Run, tmp_path: Path) -> None:
    name = f"{__name__}:redness"
    results = run(*TWO, *SCENES, "--scorer", name)
    folder = RunFolder.read(tmp_path / "run")
    values = [
        [redness(Image.open(one.picture_path), "a ") for one in folder.made(setting)]
        for setting in folder.plan.settings
    ]
    for entry, own in zip(results["settings"], values, strict=True):
        assert entry["scores"][name]["by_prompt"] == pytest.approx(own, rel=1e-5)
    won = np.mean(np.array(values[1]) > np.array(values[0]))
    assert results["comparisons"][0]["scores"][name]["win_rate"]["estimate"] == won


def test_without_a_clip_the_scenes_dual_encoder_scores_and_every_report_says_so(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    name = "CLIP-like score (scenes dual encoder)"
    results = run(*TWO, *SCENES)
    assert results["networks"]["scorers"] == [name]
    network = DualEncoderScore(ROOT / "benchmarks/dual_encoder")
    folder = RunFolder.read(tmp_path / "run")
    prompts = [str(one["prompt"]) for one in PROMPTS]
    for setting, entry in zip(folder.plan.settings, results["settings"], strict=True):
        pictures = np.stack([one.picture() for one in folder.made(setting)])
        expected = network.score(pictures, prompts)
        assert entry["scores"][name]["by_prompt"] == pytest.approx(expected, abs=1e-4)
    assert 0 <= results["comparisons"][0]["scores"][name]["win_rate"]["estimate"] <= 1
    for report in ("results.json", "report.md", "report.html"):
        text = (tmp_path / "run" / report).read_text()
        assert name in text and "CLIP" not in text.replace(name, "")


def test_the_scenes_dual_encoder_leaves_other_worlds_and_clip_s_place_alone(
    run: Run, engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(cli_run, "ClipScorer", lambda *given: FunctionScorer("math:copysign"))
    monkeypatch.setattr(FunctionScorer, "score", lambda self, pictures, texts: np.ones(len(texts)))
    assert run(*SCENES, "--clip", "some")["networks"]["scorers"] == ["math:copysign"]
    engine.palette["classes"][0]["name"] = engine.classes[0] = "somebody"
    run("--output", str(tmp_path / "another"))
    results = json.loads((tmp_path / "another/results.json").read_text())
    assert results["networks"]["scorers"] == []


class Sources(html.parser.HTMLParser):
    """What a page would load, and the tags that it has."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.loaded += [v or "" for k, v in attrs if k in ("src", "href", "srcset", "data")]


def test_the_page_needs_nothing_else_and_shows_prompts_as_text(run: Run, tmp_path: Path) -> None:
    run(*TWO, *SCENES)
    text = (tmp_path / "run/report.html").read_text()
    page = Sources()
    page.feed(text)
    assert page.loaded and all(source.startswith("data:image/") for source in page.loaded)
    assert "script" not in page.tags and "&lt;script&gt;dog" in text
    assert "own beside cfg: where they differ most" in text
    for which in ("worst", "median", "best"):
        assert f"cfg: {which}" in text
    table = [line for line in (tmp_path / "run/report.md").read_text().splitlines() if "|" in line]
    assert len({line.count("|") - line.count("\\|") for line in table[:9]}) == 1


@pytest.mark.nightly
def test_more_networks_make_no_picture_anew(run: Run, engine: Any) -> None:
    run(*TWO, *SCENES)
    engine.calls.clear()
    results = run(*TWO, *SCENES, "--scorer", f"{__name__}:redness")
    assert engine.calls == [] and results["time"]["made"] == 0
    spent = results["time"]
    outside = spent["total"] - spent["engine"] - spent["networks"]
    assert spent["outside_share"] == pytest.approx(outside / spent["total"])
    assert 0 < spent["processor"]["networks"] < spent["processor"]["total"]
    assert 0 < spent["processor"]["outside_share"] < 1


def test_the_plain_form_is_a_run(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`fgdm evaluate BUNDLE`, whose run has the bundle's name."""
    results = run(*SCENES)
    monkeypatch.chdir(tmp_path)
    given = ["--prompts", "prompts.json", "--segmenter", "segmenter.safetensors", "--quiet"]
    assert command.main(["evaluate", "some/bundle", *given, *SCENES]) == 0
    assert "runs/bundle/report.html" in capsys.readouterr().out
    again = json.loads((tmp_path / "runs/bundle/results.json").read_text())
    scores = results["settings"][0]["scores"]["picture_recall"]
    assert again["settings"][0]["scores"]["picture_recall"] == scores


def test_measuring_does_not_wait_for_what_only_training_needs() -> None:
    program = "import sys, fgdm.evaluate.cli; sys.exit('diffusers' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_dropped_maps_give_no_row_of_table_3(
    run: Run, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = engine._result

    def pruned(*arguments: Any, **options: Any) -> Any:
        result = made(*arguments, **options)
        first = dataclasses.replace(result.candidates[0], pruned=True)
        return dataclasses.replace(result, candidates=(first, *result.candidates[1:]))

    monkeypatch.setattr(engine, "_result", pruned)
    results = run("--candidates", "3", *SCENES)
    assert results["settings"][0]["candidates"] is None
    assert any("stop_at_recall=0" in note for note in results["notes"])


def test_a_part_measures_only_when_all_are_made(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(FileNotFoundError):
        run(*SCENES, "--part", "1/2", "--in-flight", "2")
    assert "others are still missing" in capsys.readouterr().out
    assert run(*SCENES, "--part", "2/2")["time"]["made"] == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--setting", "cfg"], "NAME=OBJECT"),
        (["--sweep", "x"], "OPTION=VALUE,VALUE"),
        (["--part", "3/2"], "isn't K/N"),
        (["--in-flight", "0"], "from 1 on"),
        (["--gpus", "1"], "of the workers of --ray"),
        (["--option", "colour=1"], "no option 'colour'"),
        (["--reference", "world:one"], "isn't world:N"),
        (["--reference", "nowhere"], "holds no picture"),
        (["--scorer", "nowhere:f"], "--scorer is 'nowhere:f'"),
        (["--segmenter", "nowhere"], "can't read the scenes segmenter"),
        (["--dual-encoder", "nowhere"], "can't read a dual encoder"),
        (["--clip", "nowhere"], "can't read a CLIP model"),
        (["--clip", "one", "--dual-encoder", "other"], "one of them scores"),
        (["--network", "nowhere.json"], "can't read the network's description"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    run: Run, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        run(*arguments, code=2)
    except (SystemExit, FileNotFoundError) as end:
        assert isinstance(end, FileNotFoundError) or end.code == 2
    assert words in capsys.readouterr().err
