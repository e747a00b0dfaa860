"""The ``fgdm export`` command: its options, its output, its exit codes."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fgdm.export import bundle
from fgdm.export.cli import add_arguments, run
from fgdm.export.defaults import ConditionDefaults, FactorDefaults
from fgdm.export.own_backbone import BackboneSource

from tests.tiny_models import TinyCheckpoint


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser("fgdm export")
    add_arguments(parser)
    return parser.parse_args(arguments)


def options(checkpoint: TinyCheckpoint, output: Path) -> list[str]:
    return [
        f"--base={checkpoint.base}",
        f"--adapter=segmentation={checkpoint.adapter}",
        f"--controlnet={checkpoint.controlnet}",
        f"--palette={checkpoint.palette}",
        f"--output={output}",
    ]


def test_exports_with_the_chosen_defaults(
    tiny_checkpoint: TinyCheckpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        *options(tiny_checkpoint, tmp_path / "small"),
        "--image-size=96x64",
        "--steps=12",
        "--condition-guidance-scale=4",
        "--condition-sampler=dpmsolver++",
        "--condition-timestep-spacing=trailing",
        "--min-area=0.01",
        "--wave=3",
        "--guidance=cfg",
        "--cache-interval=2",
        "--cache-level=2",
        "--attention-maps",
    ]
    assert run(parse(*arguments)) == 0
    printed = capsys.readouterr().out
    assert "[9/9] backbone: largest error" in printed
    assert f"wrote {tmp_path / 'small'}" in printed
    manifest = json.loads((tmp_path / "small/manifest.json").read_text())
    condition, image = manifest["factors"]
    assert manifest["name"] == "small"
    assert manifest["graphs"]["backbone"]["attention_stride"] == 2
    assert (condition["height"], condition["width"], condition["guidance_scale"]) == (48, 32, 4.0)
    assert (condition["min_area"], condition["wave"]) == (0.01, 3)
    assert (condition["sampler"], image["sampler"]) == ("dpmsolver++", "ddim")
    assert condition["timestep_spacing"] == "trailing" and "timestep_spacing" not in image
    assert (image["height"], image["num_inference_steps"], image["guidance"]) == (96, 12, "cfg")
    assert (image["cache_interval"], image["cache_level"]) == (2, 2)
    assert "cache_interval" not in condition
    arguments += ["--cache-level=3", "--overwrite"]
    assert run(parse(*arguments)) == 1
    assert "image: cache_level is 3; expected 1 to 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("palette", "message"),
    [("coco-stuff", "the base: there is no"), ("coco", "can't read the palette coco")],
)
def test_a_palette_may_be_a_built_in_one(
    palette: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The built-in one is read before the base, whose absence is what then stops the export."""
    folder = tmp_path / "missing"
    files = TinyCheckpoint(folder, folder, folder, Path(palette))
    assert run(parse(*options(files, tmp_path / "bundle"))) == 1
    assert message in capsys.readouterr().err


def test_an_error_is_one_line_and_exit_code_1(
    tiny_checkpoint: TinyCheckpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*options(tiny_checkpoint, tmp_path / "b"), "--image-size=100x64"]
    assert run(parse(*arguments)) == 1
    assert "100x64; expected multiples of 32" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_sources(tiny_checkpoint: TinyCheckpoint, tmp_path: Path) -> None:
    """Ids stay text; LoRAs may have a scale; colons in paths are no scales."""
    args = parse(
        *options(tiny_checkpoint, tmp_path),
        "--base=runwayml/stable-diffusion-v1-5",
        "--controlnet=depth=lllyasviel/sd-controlnet-seg:0.5",
        "--t2i-adapter=sketch=sketch.pth",
        "--lora=style.safetensors",
        "--lora=owner/name/other.safetensors:-0.5",
        "--lora=C:\\loras\\third.safetensors",
        "--tokenizer=openai/clip-vit-large-patch14",
        "--tiny-decoder=madebyollin/taesd",
    )
    assert args.base == "runwayml/stable-diffusion-v1-5"
    assert args.adapter == [("segmentation", None, str(tiny_checkpoint.adapter))]
    assert args.controlnet == [
        (str(tiny_checkpoint.controlnet), None, 1.0),
        ("lllyasviel/sd-controlnet-seg", "depth", 0.5),
    ]
    assert args.t2i_adapter == [("sketch.pth", "sketch", 1.0)]
    assert args.lora == [
        ("style.safetensors", 1.0),
        ("owner/name/other.safetensors", -0.5),
        ("C:\\loras\\third.safetensors", 1.0),
    ]
    assert (args.tokenizer, args.tiny_decoder) == (
        "openai/clip-vit-large-patch14",
        "madebyollin/taesd",
    )


def test_an_equals_sign_may_be_part_of_a_path(
    tiny_checkpoint: TinyCheckpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sweeps and Lightning make such names; only the first sign separates, and none in a path."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "epoch=22-step=5335.ckpt").touch()
    args = parse(
        *options(tiny_checkpoint, tmp_path),
        "--adapter=depth:segmentation,depth=runs/lr=1e-5/adapter",
        "--controlnet=/runs/lr=1e-5/net:0.5",
        "--controlnet=runs/lr=1e-5/net",
        "--controlnet=depth=runs/lr=1e-5/net:0.5",
        "--controlnet=epoch=22-step=5335.ckpt",
        "--t2i-adapter=sketch=lr=1e-5.pth",
        "--lora=runs/lr=1e-5/style.safetensors:0.5",
    )
    assert args.adapter[1:] == [("depth", ("segmentation", "depth"), "runs/lr=1e-5/adapter")]
    assert args.controlnet[1:] == [
        ("/runs/lr=1e-5/net", None, 0.5),
        ("runs/lr=1e-5/net", None, 1.0),
        ("runs/lr=1e-5/net", "depth", 0.5),
        ("epoch=22-step=5335.ckpt", None, 1.0),
    ]
    assert args.t2i_adapter == [("lr=1e-5.pth", "sketch", 1.0)]
    assert args.lora == [("runs/lr=1e-5/style.safetensors", 0.5)]


def test_what_is_said_of_single_factors(
    tiny_checkpoint: TinyCheckpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others get what is said of all; a text with an equals sign needs its factor's name."""
    given: list[tuple[Any, ...]] = []

    def export(*arguments: Any, defaults: FactorDefaults, **_: Any) -> Path:
        given.append((arguments[1], defaults.condition))
        return tmp_path

    monkeypatch.setattr(bundle, "export_bundle", export)
    arguments = [
        *options(tiny_checkpoint, tmp_path / "b"),
        "--adapter=depth:segmentation,depth=two",
        "--adapter=edges=one",
        "--backbone=normal:depth,normal=runs/lr=1e-5/unet",
        "--adapter=edges=other",
        "--makes=edges=sketch:black",
        "--condition-steps=6",
        "--condition-steps=depth=20",
        "--condition-size=edges=48x64",
        "--condition-prompt-prefix=a map of ",
        "--condition-prompt-prefix=depth=scale=metres ",
        "--condition-sampler=depth=dpmsolver++",
        "--condition-cache-interval=depth=2",
        "--optional=depth,normal",
    ]
    assert run(parse(*arguments)) == 0
    ((factors, shared),) = given
    assert [name for name, factor in factors.items() if factor.optional] == ["depth", "normal"]
    assert list(factors) == ["segmentation", "depth", "edges", "normal"]
    assert [len(factor.adapter_sources) for factor in factors.values()] == [1, 1, 2, 0]
    assert factors["normal"].backbone == BackboneSource("runs/lr=1e-5/unet", ("depth", "normal"))
    assert factors["depth"].backbone is None
    assert factors["depth"].adapter_sources[0].latents == ("segmentation", "depth")
    assert (factors["edges"].output, factors["edges"].lines) == ("sketch", "black")
    assert shared == ConditionDefaults(num_inference_steps=6, prompt_prefix="a map of ")
    assert factors["segmentation"].defaults is None
    assert factors["depth"].defaults == ConditionDefaults(
        num_inference_steps=20,
        prompt_prefix="scale=metres ",
        sampler="dpmsolver++",
        cache_interval=2,
    )
    assert factors["edges"].defaults == replace(shared, size=(48, 64))


def test_what_is_said_of_no_factor(
    tiny_checkpoint: TinyCheckpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for option in (
        "--condition-steps=dept=3",
        "--makes=dept=depth",
        "--condition-size=image=64x64",
        "--optional=dept",
    ):
        assert run(parse(*options(tiny_checkpoint, tmp_path / "b"), option)) == 1
        error = capsys.readouterr().err
        assert "which has no --adapter or --backbone; expected one of segmentation" in error


@pytest.mark.parametrize(
    "bad",
    [
        "--adapter=folder",
        "--adapter=depth:=folder",
        "--adapter=depth:segmentation,=folder",
        "--backbone=folder",
        "--backbone=depth:segmentation,=folder",
        "--makes=depth",
        "--makes=depth=sound",
        "--makes=depth=sketch:grey",
        "--makes=depth=depth:black",
        "--condition-steps=many",
        "--condition-steps=depth=many",
        "--condition-size=depth=64",
        "--lora=style.safetensors:strong",
        "--lora=:1",
        "--controlnet==net",
        "--controlnet=depth=",
        "--lora=style.safetensors:nan",
        "--image-size=512",
        "--guidance=none",
    ],
)
def test_bad_options(
    tiny_checkpoint: TinyCheckpoint, tmp_path: Path, bad: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as error:
        parse(*options(tiny_checkpoint, tmp_path), bad)
    assert error.value.code == 2
    assert bad.split("=", maxsplit=1)[0] in capsys.readouterr().err


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        parse("--help")
    assert error.value.code == 0
    assert "fgdm export --base" in capsys.readouterr().out
