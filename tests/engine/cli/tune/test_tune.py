"""Protects the command: what it compares, says, writes, and leaves alone when it is interrupted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fgdm.cli import command
from fgdm.errors import BackendError
from fgdm.tuning import search
from fgdm.tuning.defaults import write_defaults

from tests.engine.cli.tune.tunable import FakeEngine, contents, factor

SCENES = Path(__file__).parents[4] / "bundles/scenes"
NAMES = ("dog", "cat", "bird", "car", "person", "bench")


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
