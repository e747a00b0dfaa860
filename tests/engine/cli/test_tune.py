"""Protects the command: what it compares, says, writes, and leaves alone when it is interrupted."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fgdm.cli import command, tune
from fgdm.errors import BackendError, RequestError
from fgdm.tuning import search
from fgdm.tuning.defaults import write_defaults
from PIL import Image

core = pytest.importorskip("fgdm._core", reason="the compiled core isn't built")
SCENES = Path(__file__).parents[3] / "bundles/scenes"
NAMES = ("dog", "cat", "bird", "car", "person", "bench")
LABELS = np.zeros((4, 4), np.uint8)


class Clock:
    """The processor time of a process that nothing runs in but the fake engine."""

    def __init__(self) -> None:
        self.now = 0.0

    def process_time(self) -> float:
        return self.now


class FakeEngine:
    """A bundle whose maps lose a class below `enough` steps, and whose picture gets farther from
    the careful one with fewer steps and longer caches. Time is proportional to the steps."""

    def __init__(self, manifest: dict[str, Any], clock: Clock) -> None:
        self.manifest = manifest
        self.clock = clock
        self.enough = 5
        self.calls: list[dict[str, Any]] = []
        self.before_call: Callable[[int], None] = lambda number: None
        self.classes = ["dog", "sun", "tree"]
        self.info = SimpleNamespace(backend="cpu", to_json=lambda: {"backend": "cpu"})

    def __enter__(self) -> FakeEngine:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def find_objects(self, prompt: str) -> Any:
        return SimpleNamespace(requested=[name for name in self.classes if name in prompt])

    def submit(self, prompt: str, **options: Any) -> Any:
        for name in options.get("objects", ()):
            if name not in self.classes:
                raise RequestError(f'objects names "{name}"')
        return SimpleNamespace(cancel=lambda: None, wait=lambda: None)

    def generate(self, prompt: str, **options: Any) -> Any:
        self.before_call(len(self.calls))
        self.calls.append({"prompt": prompt, **options})
        maps, image = self.manifest["factors"][0], self.manifest["factors"][-1]
        assert options.keys().isdisjoint({"condition_steps", "wave", "stop_at_recall"}), (
            "other factors would take them, too"
        )
        of_maps = options.get("factors", {}).get("segmentation", {})
        steps = of_maps.get("condition_steps", maps["num_inference_steps"])
        painted = options.get("num_inference_steps", image["num_inference_steps"])
        cache = options.get("cache_interval", image.get("cache_interval", 1))
        given = "map" in of_maps
        wave = of_maps.get("wave", 0) or options["candidates"]
        stops = of_maps.get("stop_at_recall", maps["stop_at_recall"]) > 0
        sampled = 0 if given else min(wave, options["candidates"]) if stops else 5
        self.clock.now += steps * sampled + painted * (1 if cache == 1 else 0.6)
        error = 40 // painted + 2 * (cache - 1)
        made = SimpleNamespace(labels=LABELS, map=Image.new("RGB", (4, 4)))
        return SimpleNamespace(
            recall=1.0 if steps >= self.enough else 0.5,
            factors={"segmentation": made},
            image=Image.new("RGB", (8, 8), (100 + error,) * 3),
        )


def write_manifest(bundle: Path, manifest: dict[str, Any]) -> None:
    content = json.dumps(manifest).encode()
    (bundle / "manifest.json").write_bytes(content)
    (bundle / "manifest.sha256").write_text(hashlib.sha256(content).hexdigest() + "\n")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle without a segmenter: its pictures are compared with the careful setting's."""
    for name in ("manifest.json", "manifest.sha256"):
        shutil.copyfile(SCENES / name, tmp_path / name)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    del manifest["segmenter"]
    write_manifest(tmp_path, manifest)
    return tmp_path


@pytest.fixture
def engine(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    clock = Clock()
    fake = FakeEngine(json.loads((bundle / "manifest.json").read_text()), clock)
    monkeypatch.setattr(tune, "open_engine", lambda args, bundle: fake)
    monkeypatch.setattr(search, "time", clock)
    return fake


def contents(bundle: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in bundle.iterdir()}


def factor(bundle: Path, name: str) -> dict[str, Any]:
    factors = json.loads((bundle / "manifest.json").read_text())["factors"]
    (found,) = [entry for entry in factors if entry["name"] == name]
    return dict(found)


def test_it_finds_the_fewest_steps_that_are_enough_and_writes_them(
    engine: FakeEngine, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["tune", str(bundle), "--psnr", "35", "--write"]) == 0
    maps, image = factor(bundle, "segmentation"), factor(bundle, "image")
    assert (maps["num_inference_steps"], maps["timestep_spacing"]) == (5, "trailing")
    assert maps["wave"] == 1
    # 35 dB are 4.5 grey levels: 6 steps are 4 away from the careful 20; a cache of 2 adds 2.
    assert (image["num_inference_steps"], image["cache_interval"]) == (6, 1)
    printed = capsys.readouterr()
    assert "* 5 steps, trailing" in printed.out
    assert "4 steps, trailing" in printed.out and "dropped" in printed.out
    assert "image: PSNR of the picture" in printed.out
    assert f"wrote them to {bundle}/manifest.json" in printed.out
    assert "maps: step" in printed.err


def test_a_wider_bound_takes_the_cache(engine: FakeEngine, bundle: Path) -> None:
    assert command.main(["tune", str(bundle), "--psnr", "30", "--quiet", "--write"]) == 0
    image = factor(bundle, "image")
    assert (image["num_inference_steps"], image["cache_interval"]) == (5, 2)


def test_without_write_the_bundle_stays(
    engine: FakeEngine, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(bundle)
    assert command.main(["tune", str(bundle), "--json", "--every", "2"]) == 0
    assert contents(bundle) == before
    found = json.loads(capsys.readouterr().out)
    assert found["prompts"] == 8 and found["clock"] == "processor"
    assert not found["written"]
    assert [stage["name"] for stage in found["stages"]] == ["maps", "image", "cache", "waves"]
    maps = found["stages"][0]
    assert maps["chosen"] == "5 steps, trailing"
    careful = maps["settings"][0]
    assert careful["seconds_over_careful"] == {"estimate": 1.0, "low": 1.0, "high": 1.0}
    assert found["together"]["settings"][-1]["seconds_over_careful"]["high"] < 0.5


@pytest.mark.parametrize("number", [0, 100, 200])
def test_ctrl_c_leaves_the_bundle(
    engine: FakeEngine, bundle: Path, number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(call: int) -> None:
        if call == number:
            raise KeyboardInterrupt

    engine.before_call = interrupt
    before = contents(bundle)
    assert command.main(["tune", str(bundle), "--write"]) == 130
    assert contents(bundle) == before
    assert "cancelled" in capsys.readouterr().err


def test_what_is_chosen_one_by_one_must_hold_together(
    engine: FakeEngine, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Maps turn bad as soon as whole requests are compared."""
    generate = engine.generate

    def worse_together(prompt: str, **options: Any) -> Any:
        result = generate(prompt, **options)
        waves = options.get("factors", {}).get("segmentation", {}).get("wave")
        if waves and "guidance" not in options:
            result.recall = 0.0
        return result

    engine.generate = worse_together  # type: ignore[method-assign]
    before = contents(bundle)
    assert command.main(["tune", str(bundle), "--write", "--quiet"]) == 1
    assert contents(bundle) == before
    assert "aren't written" in capsys.readouterr().out


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
    assert "fgdm export --add-segmenter FILE --into BUNDLE" in capsys.readouterr().err
    assert engine.calls == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--every", "0"], "--every is 0"),
        (["--loss", "2"], "--loss is 2"),
        (["--psnr", "-1"], "--psnr is -1"),
        (["--judge", "no_such_module:f"], "MODULE:FUNCTION of an importable module: ModuleNot"),
        (["--judge", "json"], "MODULE:FUNCTION, such as"),
        (["--judge", ":dumps"], "MODULE:FUNCTION, such as"),
        (["--judge", "json:"], "MODULE:FUNCTION, such as"),
        (["--judge", "json:no_such"], "no_such"),
        (["--every", "4"], "there are 4 prompts to compare settings on, expected 6 or more"),
        (["--judge", "json:__doc__"], "isn't a function"),
        (["--prompts", "absent.txt"], "absent.txt"),
    ],
)
def test_wrong_usage(
    engine: FakeEngine,
    bundle: Path,
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command.main(["tune", str(bundle), *arguments]) == 2
    assert words in capsys.readouterr().err


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


def test_a_prompt_that_the_engine_refuses_is_named_before_anything_is_measured(
    engine: FakeEngine, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts: list[object] = [f"a dog, {number}" for number in range(8)]
    prompts.append({"prompt": "a zoo", "objects": ["unicorn"]})
    file = tmp_path / "prompts.json"
    file.write_text(json.dumps(prompts))
    assert command.main(["tune", str(bundle), "--prompts", str(file)]) == 2
    assert "prompt 9, 'a zoo': objects names \"unicorn\"" in capsys.readouterr().err
    assert not engine.calls


def test_prompts_of_which_recall_says_nothing_are_left_out(
    engine: FakeEngine, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every setting has full recall of them, so that with more of them anything would pass."""
    file = tmp_path / "prompts.txt"
    file.write_text("a dream\n" + "".join(f"a dog, {i}\n" for i in range(6)) + "nothing\n")
    assert command.main(["tune", str(bundle), "--prompts", str(file), "--json", "--quiet"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["prompts"] == 6
    assert {call["seed"] for call in engine.calls} == set(range(1, 7)), "a seed belongs to a prompt"
    assert any("2 of 8 prompts name no class" in note for note in found["notes"])
    file.write_text("".join(f"a dream, {i}\n" for i in range(20)))
    engine.calls.clear()
    assert command.main(["tune", str(bundle), "--prompts", str(file)]) == 2
    told = capsys.readouterr().err
    assert "there are 0 prompts that name a class of the bundle's maps to compare" in told
    assert not engine.calls


def test_what_was_measured_is_told_even_if_it_can_not_be_written(
    engine: FakeEngine, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody else has written the manifest meanwhile."""

    def changed(call: int) -> None:
        if call == 100:
            text = (bundle / "manifest.json").read_text()
            write_defaults(bundle, text, {"image": {"num_inference_steps": 9}})

    engine.before_call = changed
    assert command.main(["tune", str(bundle), "--write", "--json", "--quiet"]) == 3
    told = capsys.readouterr()
    assert "has changed since it was measured" in told.err
    found = json.loads(told.out)
    assert not found["written"] and found["keeps_bound"]
    assert factor(bundle, "image")["num_inference_steps"] == 9


def test_a_bundle_that_can_not_be_written_is_told_before_anything_is_measured(
    engine: FakeEngine, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (bundle / "manifest.json").chmod(0o444)
    assert command.main(["tune", str(bundle), "--write"]) != 0
    assert "manifest.json: it is read-only" in capsys.readouterr().err
    assert not engine.calls
    assert command.main(["tune", str(bundle), "--quiet"]) == 0, "it can be tuned all the same"


def test_a_setting_that_the_runtime_can_not_do_drops_out(
    engine: FakeEngine, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generate = engine.generate

    def call(prompt: str, **options: Any) -> Any:
        if options.get("num_inference_steps") in (5, 6):
            raise BackendError("the picture is not finite")
        return generate(prompt, **options)

    engine.generate = call  # type: ignore[method-assign]
    assert command.main(["tune", str(bundle), "--psnr", "30", "--json", "--quiet"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "image: 5 steps, trailing failed: the picture is not finite" in found["notes"]
    assert found["defaults"]["image"]["num_inference_steps"] == 8


def test_on_a_gpu_the_wall_clock_counts(
    engine: FakeEngine,
    bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A processor waits there, or does something else."""
    engine.info.backend = "tensorrt"
    clock = SimpleNamespace(
        process_time=lambda: 0.0, perf_counter=lambda: engine.clock.process_time() / 100
    )
    monkeypatch.setattr(search, "time", clock)
    assert command.main(["tune", str(bundle), "--json", "--quiet"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["clock"] == "wall"
    assert found["stages"][0]["settings"][0]["mean_seconds"] == pytest.approx(1.01)


def test_a_clock_that_stands_still_is_no_error(
    engine: FakeEngine, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "time", SimpleNamespace(process_time=lambda: 0.0))
    assert command.main(["tune", str(bundle), "--json", "--quiet"]) == 0


@pytest.mark.nightly
def test_the_shipped_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the real engine everything runs, and what it writes opens."""
    copy = tmp_path / "scenes"
    shutil.copytree(SCENES, copy)
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("".join(f"a {name} under a tree\n" for name in NAMES))
    arguments = ["--prompts", str(prompts), "--candidates", "2", "--threads", "1", "--psnr", "10"]
    assert command.main(["tune", str(copy), *arguments, "--json", "--write"]) in (0, 1)
    found = json.loads(capsys.readouterr().out)
    from fgdm import Engine  # noqa: PLC0415

    with Engine(copy, threads=1) as engine:
        if found["written"]:
            for name, fields in found["defaults"].items():
                (entry,) = [f for f in engine.manifest["factors"] if f["name"] == name]
                assert fields.items() <= entry.items()
            assert (
                engine.generate("a dog", seed=1).parameters["wave"]
                == (found["defaults"]["segmentation"]["wave"])
            )
