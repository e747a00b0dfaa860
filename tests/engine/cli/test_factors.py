"""Protects the arguments of `fgdm generate` about factors and pictures, and how files are read."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fgdm.cli import factors
from fgdm.errors import RequestError
from PIL import Image


def options(*arguments: str | Path) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    factors.add_arguments(parser)
    parsed = factors.options(parser.parse_args([str(argument) for argument in arguments]))
    return {name: value for name, value in parsed.items() if value is not None}


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(1).integers(0, 256, (6, 8, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def test_nothing_is_said_without_arguments() -> None:
    assert options() == {}


def test_arguments_become_options_of_factors(picture: Path) -> None:
    given = options(
        f"--map=depth={picture}",
        "--map-strength=depth=0.5",
        "--factor-prompt=depth=a = b",
        "--factor-prompt=sketch=",
        '--factor-options=depth={"candidates": 4, "guidance_interval": [0, 0.5]}',
        f'--factor-options=normal={{"map": "{picture}"}}',
        "--leave-out=segmentation,pose",
        "--with=depth,edges",
        "--joint=normal,edges",
    )
    assert given["joint"] == ["normal", "edges"]
    factors = given["factors"]
    with Image.open(picture) as expected:
        for factor in ("depth", "normal"):
            assert factors[factor].pop("map").tobytes() == expected.tobytes()
    assert factors == {
        "depth": {
            "strength": 0.5,
            "prompt": "a = b",
            "candidates": 4,
            "guidance_interval": [0, 0.5],
        },
        "normal": {},
        "sketch": {"prompt": ""},
        "edges": {},
        "segmentation": None,
        "pose": None,
    }


def test_labels_are_read_from_numpy_files(tmp_path: Path) -> None:
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    np.save(tmp_path / "labels.npy", labels)
    given = options("--map", f"segmentation={tmp_path / 'labels.npy'}")
    np.testing.assert_array_equal(given["factors"]["segmentation"]["map"], labels)


def test_a_mask_keeps_its_alpha(tmp_path: Path, picture: Path) -> None:
    Image.new("RGBA", (8, 6), (255, 255, 255, 0)).save(tmp_path / "mask.png")
    given = options("--image", picture, "--mask", tmp_path / "mask.png", "--strength", "1")
    assert given["image"].size == (8, 6) and given["mask"].mode == "RGBA"
    assert given["strength"] == 1


def test_a_photo_is_turned_as_it_is_shown(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.new("RGB", (8, 6)).save(tmp_path / "photo.jpg", exif=exif)
    assert options("--image", tmp_path / "photo.jpg")["image"].size == (6, 8)


def test_what_is_no_picture_is_told(tmp_path: Path, picture: Path) -> None:
    content = picture.read_bytes()
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    for name, wrong in (
        ("text", b"no picture"),
        ("empty", b""),
        ("cut.png", content[:-30]),
        ("header.png", content[:20]),
        ("cut.npy", (tmp_path / "objects.npy").read_bytes()[:40]),
    ):
        (tmp_path / name).write_bytes(wrong)
    (tmp_path / "folder").mkdir()
    for name in (
        "text",
        "empty",
        "cut.png",
        "header.png",
        "cut.npy",
        "objects.npy",
        "folder",
        "no",
    ):
        with pytest.raises(RequestError, match=rf"can't read the picture .*{name}' of --mask: \w"):
            options("--mask", tmp_path / name)
    with pytest.raises(RequestError, match=r"it is no PNG, JPEG, .* or \.npy"):
        options("--map", f"depth={tmp_path / 'text'}")


def test_a_bomb_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: Path) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with warnings.catch_warnings(), pytest.raises(RequestError, match="exceeds limit"):
        warnings.simplefilter("ignore")
        options("--image", picture)


def test_one_thing_is_said_of_a_factor(picture: Path) -> None:
    with pytest.raises(RequestError, match="--map names depth, which --leave-out names too"):
        options("--leave-out", "depth", "--map", f"depth={picture}")
    for again in ("--factor-prompt=depth=b", '--factor-options=depth={"prompt": "b"}'):
        with pytest.raises(RequestError, match="says prompt of depth again; say it once"):
            options("--factor-prompt=depth=a", again)


@pytest.mark.parametrize(
    "value", ["depth", "depth=4", "depth={", '={"seed": 1}', "depth=" + "[" * 10**5]
)
def test_options_are_an_object(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options(f"--factor-options={value}")
    assert """a JSON object of options, e.g. 'depth={"candidates": 4}'""" in capsys.readouterr().err


def test_no_factor_is_not_joint() -> None:
    with pytest.raises(RequestError, match="--joint names no factor"):
        options("--joint", "")


def test_an_option_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options('--factor-options=depth={"sampler": "lcm", "sampler": "tcd"}')
    assert "says something twice; say it once" in capsys.readouterr().err
