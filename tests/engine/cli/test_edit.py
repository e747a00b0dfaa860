"""Protects ``fgdm edit``: what it writes, and that its inversions can be edited again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fgdm.cli import command
from fgdm.engine import Engine
from PIL import Image

SCENES = Path(__file__).parents[3] / "bundles" / "scenes"


@pytest.fixture
def map_file(tmp_path: Path) -> str:
    labels = np.zeros((64, 64), np.uint8)
    labels[36:] = 2
    path = tmp_path / "map.npy"
    np.save(path, labels)
    return str(path)


def run(*words: str) -> int:
    machine = ["--backend", "cpu", "--threads", "1", "--quiet", "--seed", "3"]
    return command.main(["edit", "--bundle", str(SCENES), *machine, *words])


def test_edits_a_map_and_edits_it_again(
    tmp_path: Path, map_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first, again, saved = (str(tmp_path / name) for name in ("first", "again", "map.npz"))
    edits = ["--add", "a dog", "--remove", "a tree", "--prompt", "a dog", "--scale", "3"]
    assert (
        run("--of-map", map_file, *edits, "--steps", "4", "--save", saved, "--output", first) == 0
    )
    assert run("--inversion", saved, *edits, "--output", again, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    editing = result["parameters"]["editing"]
    assert [edit["away"] for edit in editing["edits"]] == [False, True]
    assert editing["num_inference_steps"] == 4
    names = sorted(path.name for path in Path(first).iterdir())
    assert names == ["image.png", "map.png", "result.json"]
    for name in ("image.png", "map.png"):
        with Image.open(Path(first, name)) as one, Image.open(Path(again, name)) as other:
            assert (np.asarray(one) == np.asarray(other)).all()


def test_edits_a_picture_without_a_map(tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    rng = np.random.default_rng(2)
    Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(picture)
    output = tmp_path / "out"
    source = ["--of-image", str(picture), "--leave-out", "segmentation", "--steps", "4"]
    assert run(*source, "--add", "a dog", "--output", str(output)) == 0
    assert sorted(path.name for path in output.iterdir()) == ["image.png", "result.json"]
    with Image.open(output / "image.png") as image:
        assert image.size == (64, 64)


def test_edits_a_picture_in_three_ways(
    tmp_path: Path, map_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    picture, mask = tmp_path / "picture.png", tmp_path / "mask.png"
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 255, (128, 128, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(picture)
    where = np.zeros((64, 64), np.uint8)
    where[8:24, 8:24] = 255
    Image.fromarray(where).save(mask)
    output = tmp_path / "out"
    edit = ["--of-map", map_file, "--steps", "4", "--add", "a house", "--mask", str(mask)]
    edit += ["--threshold", "0", "--scale", "9", "--prompt", "a house", "--output", str(output)]
    ways = [word for way in ("mask", "pixel", "paste") for word in ("--way", way)]
    assert run(*edit, "--picture", str(picture), *ways, "--seam", "4", "--json") == 0
    assert list(json.loads(capsys.readouterr().out)) == ["mask", "pixel", "paste"]
    images = {}
    for way in ("mask", "pixel", "paste"):
        with Image.open(output / f"image-{way}.png") as image:
            images[way] = np.asarray(image)
    with Image.open(output / "side-by-side.png") as strip:
        assert (np.asarray(strip) == np.hstack(list(images.values()))).all()
    for way in ("pixel", "paste"):  # far from the mask nothing changes
        assert (images[way] == pixels)[64:].all()
        assert (images[way] != pixels)[16:48, 16:48].any()
    assert (images["mask"] != pixels)[64:].any()

    for words, message in (
        (["--way", "paste"], "--way paste has no picture to edit"),
        (["--picture", str(picture)], "say --way pixel or --way paste"),
    ):
        assert run(*edit, *words) == 2
        assert message in capsys.readouterr().err


def test_reads_the_map_from_the_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the bundle's segmenter; what was read is there to be looked at."""
    picture, output = tmp_path / "picture.png", tmp_path / "out"
    pixels = np.full((128, 128, 3), (120, 170, 230), np.uint8)
    pixels[72:] = (90, 160, 60)
    Image.fromarray(pixels).save(picture)
    edit = ["--of-image", str(picture), "--steps", "4", "--add", "a house", "--threshold", "0"]
    edit += ["--scale", "9", "--prompt", "a house", "--output", str(output)]
    assert run(*edit, "--way", "mask") == 0
    assert sorted(path.name for path in output.iterdir()) == [
        *("image.png", "map-before.png", "map.png", "result.json"),
    ]
    with Engine(SCENES, backend="cpu", threads=1) as engine:
        colors = [entry["color"] for entry in (engine.palette or {})["classes"]]
        seen = np.asarray(colors, np.uint8)[engine.segment(pixels)]
    with Image.open(output / "map-before.png") as before, Image.open(output / "map.png") as after:
        assert (np.asarray(before) == seen).all()
        assert (np.asarray(after) != seen).any()
    assert run(*edit, "--way", "mask", "--picture", str(picture)) == 2
    assert "leave --picture out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--scale", "101", "edits[0] scale is 101, expected 0 to 100"),
        ("--threshold", "1.5", "edits[0] threshold is 1.5, expected 0 to 1"),
        ("--warm-up", "4", "edits[0] warm_up is 4, expected 0 to 2"),
        ("--cool-down", "4", "edits[0] cool_down is 4, expected 1 to 3"),
        ("--skip", "1", "skip is 1, expected 0 to less than 1"),
        ("--steps", "1", "num_inference_steps of the inversion is 1, expected 2 to 1000"),
        ("--seam", "65", "seam is 65, expected 1 to 64 pixels"),
        ("--strength", "2", "strength is 2, expected 0 to 1"),
        ("--attention", None, "export the bundle again with --attention-maps"),
    ],
)
def test_numbers_out_of_range_are_refused_before_the_inversion(
    tmp_path: Path,
    map_file: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    option: str,
    value: str | None,
    message: str,
) -> None:
    def edited(*_: object, **__: object) -> None:
        pytest.fail("the inversion was made")

    monkeypatch.setattr(Engine, "submit_edit", edited)
    edit = ["--of-map", map_file, "--steps", "4", "--add", "a dog", "--prompt", "a dog", option]
    output = str(tmp_path / "out")
    assert run(*edit, *([] if value is None else [value]), "--output", output) == 2
    assert message in capsys.readouterr().err
    assert not Path(output).exists()


def test_says_what_is_missing(
    tmp_path: Path, map_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output = str(tmp_path / "out")
    assert run("--of-map", map_file, "--output", output) == 2
    assert "there is no edit; say what shall be there with --add" in capsys.readouterr().err
    assert not Path(output).exists()
    with pytest.raises(SystemExit):
        run("--of-map", map_file, "--inversion", "x.npz", "--add", "a dog")
