"""Protects `fgdm generate`: what it takes, what it writes, what it tells."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from fgdm.cli import command, generate
from PIL import Image

from tests.engine.cli.fake_engine import FakeEngine, MakeResult


def test_generate_writes_its_four_files(
    engine: FakeEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["generate", "a dog"]) == 0
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == sorted(generate.OUTPUTS)
    for name, size in (("image.png", (128, 128)), ("map.png", (64, 64))):
        with Image.open(out / name) as picture:
            assert picture.size == size
    assert json.loads((out / "result.json").read_text())["chosen"] == 1
    printed = capsys.readouterr()
    assert "map 2 of 3 chosen: recall 3/3; seed 7" in printed.out
    assert "out/image.png" in printed.out
    assert "step 2 of 2" in printed.err


def test_json_alone_is_on_standard_output(
    engine: FakeEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["generate", "a dog", "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == json.loads((tmp_path / "out/result.json").read_text())
    assert "image.png" in printed.err


def test_every_factor_has_its_map(
    engine: FakeEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """map.png is that of the factor whose recall decides, not of the last."""
    measured = engine.result.factors["segmentation"]
    picture = replace(measured.candidates[0], map=Image.new("RGB", (64, 64), (9, 9, 9)))
    depth = replace(measured, candidates=(picture,), chosen=0)
    engine.result = replace(engine.result, factors={"depth": depth, "segmentation": measured})
    assert command.main(["generate", "a dog"]) == 0
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {*generate.OUTPUTS, "map_depth.png"}
    for name, expected in (("map.png", measured.map), ("map_depth.png", picture.map)):
        with Image.open(tmp_path / "out" / name) as map_:
            assert map_.tobytes() == expected.tobytes()
    printed = capsys.readouterr().out
    assert "map 2 of 3 chosen: recall 3/3" in printed
    assert "depth: map 1 of 1 chosen" in printed


def test_without_a_map_there_is_no_picture_of_it(
    engine: FakeEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.result = replace(engine.result, factors={}, candidates=(), chosen=-1, requested=())
    assert command.main(["generate", "a dog", "--leave-out", "segmentation"]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"image.png", "result.json"}
    printed = capsys.readouterr().out
    assert "painted without a map; seed 7" in printed
    assert "segmentation: left out" in printed


def test_a_picture_that_is_none_is_told_before_the_bundle_is_loaded(
    engine: FakeEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["generate", "a dog", "--image", "missing.png"]) == 2
    assert "'missing.png' of --image: No such file" in capsys.readouterr().err
    assert engine.calls == [] and list(tmp_path.iterdir()) == []


def test_failed_maps_are_told(engine: FakeEngine, capsys: pytest.CaptureFixture[str]) -> None:
    first, *others = engine.result.candidates
    engine.result = replace(engine.result, candidates=(replace(first, failed=True), *others))
    assert command.main(["generate", "a dog"]) == 0
    assert "1 of 3 maps failed" in capsys.readouterr().out


def test_quiet_prints_nothing(engine: FakeEngine, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["generate", "a dog", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert engine.calls[0]["step_callback"] is None


def test_options_become_parameters(engine: FakeEngine) -> None:
    options = {
        "negative_prompt": "blur",
        "candidates": 5,
        "seed": 2**64 - 1,
        "height": 128,
        "width": 256,
        "min_area": 0.01,
        "condition_steps": 4,
        "num_inference_steps": 8,
        "sampler": "dpmsolver++",
        "condition_sampler": "ddim",
        "timestep_spacing": "trailing",
        "condition_timestep_spacing": "linspace",
        "guidance": "cfg",
        "guidance_scale": 3.0,
        "condition_guidance_scale": 2.0,
        "segfree_scale": 9.0,
        "segfree_guidance_scale": 2.5,
        "segfree_start": 0.25,
        "stop_at_recall": 0.9,
        "wave": 2,
        "deadline": 30.0,
        "select": "compliance",
        "stop_at_compliance": 0.8,
        "instance_opening": 1,
        "strength": 0.5,
        "joint": "segmentation,image",
        "joint_refresh": 2,
    }
    lists: dict[str, list[float]] = {
        "controlnet_conditioning_scale": [0.5],
        "guidance_interval": [0.1, 0.9],
        "condition_guidance_interval": [0.0, 0.5],
        "prune": [2, 3],
    }
    shown = {name: ",".join(map(str, values)) for name, values in lists.items()}
    arguments = [f"--{name.replace('_', '-')}={v}" for name, v in {**options, **shown}.items()]
    arguments += ["--lora", "style=0.8", "--lora", "line=-2"]
    assert command.main(["generate", "a dog", "--objects", "dog, park bench,", *arguments]) == 0
    (call,) = engine.calls
    assert call.pop("objects") == ["dog", "park bench"]
    assert call.pop("prompt") == "a dog"
    assert call.pop("step_callback") is not None
    given = {name: value for name, value in call.items() if value is not None}
    assert given == {
        **options,
        **lists,
        "joint": ["segmentation", "image"],
        "loras": {"style": 0.8, "line": -2.0},
    }


def test_defaults_leave_the_choice_to_the_bundle(engine: FakeEngine) -> None:
    assert command.main(["generate", "a dog", "--quiet"]) == 0
    (call,) = engine.calls
    given = {name: value for name, value in call.items() if value is not None}
    assert given == {
        "prompt": "a dog",
        "negative_prompt": "",
        "candidates": 10,
        "guidance_interval": (0.0, 1.0),
        "condition_guidance_interval": (0.0, 1.0),
        "prune": (),
        "loras": {},
    }


def test_bad_numbers_reach_the_engine_that_explains_them(engine: FakeEngine) -> None:
    arguments = ["--candidates", "0", "--guidance-scale", "nan", "--min-area=-inf", "--seed", "-1"]
    assert command.main(["generate", "", *arguments]) == 0
    (call,) = engine.calls
    assert call["candidates"] == 0 and call["seed"] == -1
    assert call["guidance_scale"] != call["guidance_scale"]
    assert call["min_area"] == float("-inf")


def test_prompt_from_standard_input(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("ein Bär\n".encode())))
    assert command.main(["generate", "-"]) == 0
    assert engine.calls[0]["prompt"] == "ein Bär"


def test_undecodable_standard_input_is_a_request_error(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a \xff dog")))
    assert command.main(["generate", "-"]) == 2
    assert "byte 2 is 0xff" in capsys.readouterr().err


def test_progress_on_a_full_disk_stops_nothing(engine: FakeEngine, tmp_path: Path) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    with contextlib.redirect_stderr(Full()):
        assert command.main(["generate", "a dog"]) == 0
    assert (tmp_path / "out/image.png").is_file()


def test_an_interval_is_told_in_the_commands_own_form(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        command.main(["generate", "a dog", "--guidance-interval", "0.5"])
    assert "'0.5' isn't START,STOP, e.g. 0,0.8" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value"),
    [("--map", "map.png"), ("--factor-prompt", "=x"), ("--map-strength", "depth=much")],
)
def test_what_is_said_of_a_factor_is_told_in_its_form(
    option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        command.main(["generate", "a dog", option, value])
    assert f"'{value}' isn't FACTOR=" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--prune", "--guidance-interval"])
def test_bad_lists_are_told_in_words(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        command.main(["generate", "a dog", option, "1,x"])
    assert "'1,x' isn't a list of" in capsys.readouterr().err


def test_what_was_not_read_or_not_counted_is_told(
    engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.result = replace(
        engine.result,
        excluded=("tree",),
        unread=("dog",),
        unrecognized=("dragon",),
        unrecognized_omitted=3,
        truncated=" and a dog" * 100,
    )
    assert command.main(["generate", "a house"]) == 0
    printed = capsys.readouterr().out
    assert "excluded by the prompt, not counted: tree" in printed
    assert "not in the palette: dragon and 3 more" in printed
    assert "the prompt is too long for the text encoder" in printed and "1000 char" in printed
    assert "named only there, not counted: dog" in printed


def test_that_nothing_is_requested_is_told(
    engine: FakeEngine, make_result: MakeResult, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["generate", "a dog"]) == 0
    assert "no class of the palette" not in capsys.readouterr().out
    engine.result = make_result(found=[()], requested=())
    assert command.main(["generate", "a gnu"]) == 0
    assert "the first is painted, of 1 that were sampled" in capsys.readouterr().out


def test_unwritable_output_is_known_before_the_bundle_is_loaded(
    engine: FakeEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert command.main(["generate", "a dog", "--output", "file/out"]) == 5
    assert engine.calls == []
    assert "choose another output folder" in capsys.readouterr().err
