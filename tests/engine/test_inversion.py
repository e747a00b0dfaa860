"""Inversions and edits in Python: what they say, files of them, and what is refused."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from fgdm import Edit, Engine, Inversion
from fgdm.errors import RequestError
from fgdm.result import Result
from numpy.typing import NDArray
from PIL import Image

SCENES = Path(__file__).parents[2] / "bundles" / "scenes"
SIDE = 64


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine(SCENES, backend="cpu", threads=1) as opened:
        yield opened


def labels() -> NDArray[np.uint8]:
    made = np.zeros((SIDE, SIDE), np.uint8)
    made[36:] = 2
    made[20:50, 12:40] = 7
    return made


@pytest.fixture(scope="module")
def of_map(engine: Engine) -> Inversion:
    return engine.invert(map=labels(), steps=8, seed=3)


def changed(inversion: Inversion, **fields: Any) -> Inversion:
    return dataclasses.replace(inversion, **fields)


def test_an_inversion_says_what_it_is(engine: Engine, of_map: Inversion) -> None:
    assert (of_map.factor, of_map.steps, of_map.skip, of_map.eta) == ("segmentation", 8, 0.2, 1.0)
    assert of_map.sampler == "dpmsolver++_sde"
    assert of_map.timestep_spacing == "trailing"  # the factor's own
    assert (of_map.height, of_map.width) == (128, 128)
    assert of_map.latents.shape == of_map.remainders.shape[1:]
    assert of_map.latents.shape[0] == 4
    assert len(of_map.remainders) == 6
    palette = engine.palette
    assert palette is not None
    assert np.asarray(of_map.picture)[40, 20].tolist() == palette["classes"][7]["color"]
    manifest = (SCENES / "manifest.sha256").read_text().split()[0]
    assert of_map.bundle == manifest


def unedited(engine: Engine, inversion: Inversion) -> Result:
    return engine.edit(
        inversion,
        [Edit("a dog", scale=0.0)],
        "a house",
        keep=False,
        num_inference_steps=2,
        seed=1,
    )


def test_an_edit_of_nothing_gives_the_map_back(engine: Engine, of_map: Inversion) -> None:
    result = unedited(engine, of_map)
    assert (result.labels == labels()).mean() > 0.9, "more is lost than the autoencoder loses"
    again = unedited(engine, engine.invert(map=labels(), steps=4, seed=8))
    assert (result.labels == again.labels).mean() > 0.999, "the noise is to be seen"
    assert result.parameters["editing"]["factor"] == "segmentation"  # type: ignore[index]
    assert result.parameters["editing"]["edits"][0]["scale"] == 0.0  # type: ignore[index]
    assert result.image.size == (128, 128)


def test_an_edit_changes_its_region_alone(engine: Engine, of_map: Inversion) -> None:
    """To the bit, up to whole cells of the latents; and the words' direction counts."""
    name = engine.classes[7]

    def edited(direction: Literal["+", "-"], keep: bool = True) -> NDArray[np.uint8]:
        edit = Edit("the sea", direction, scale=8.0, region=name)
        options: dict[str, Any] = {"keep": keep, "num_inference_steps": 2, "seed": 1}
        return engine.edit(of_map, [edit], "a scene", **options).labels

    more, less, free = edited("+"), edited("-"), edited("+", keep=False)
    cells = (labels() == 7).reshape(SIDE // 4, 4, SIDE // 4, 4).any((1, 3))
    touched = cells.repeat(4, 0).repeat(4, 1)
    assert (more != less).any()
    for kept in (more, less):
        assert (kept == labels())[~touched].all()
        assert (kept == labels())[touched].mean() < 0.6
    assert not (free == labels())[~touched].all()


def test_pasting_changes_the_object_and_its_seam(engine: Engine, of_map: Inversion) -> None:
    rng = np.random.default_rng(6)
    picture = rng.integers(0, 255, (2 * SIDE, 2 * SIDE, 3), dtype=np.uint8)
    edits = [Edit("the sea", scale=8.0, region=engine.classes[7])]
    options: dict[str, Any] = {"num_inference_steps": 2, "seed": 1}
    edited = engine.edit(of_map, edits, "a scene", **options)
    result = engine.paste(of_map, edited, picture, "a scene", seam=5, **options)
    assert (np.asarray(result.map) == np.asarray(edited.map)).all(), "painted with another map"
    differs = (np.asarray(edited.map) != np.asarray(of_map.picture)).any(2)
    differs = differs.repeat(2, 0).repeat(2, 1)
    seam = _within(differs, 5) & _within(~differs, 5)
    image, whole = np.asarray(result.image), np.asarray(edited.image)
    assert (image == picture)[~differs & ~seam].all()
    assert (image == whole)[differs & ~seam].all()
    assert (image != np.where(differs[..., None], whole, picture))[seam].mean() > 0.5


def _within(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """Whether the square of so many pixels around holds one of the mask's."""
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(mask, pixels), (2 * pixels + 1, 2 * pixels + 1)
    )
    found: NDArray[np.bool_] = np.asarray(windows.any((2, 3)))
    return found


def test_what_can_not_be_pasted_is_refused(engine: Engine, of_map: Inversion) -> None:
    picture = np.zeros((2 * SIDE, 2 * SIDE, 3), np.uint8)
    edited = engine.edit(
        of_map, [Edit("the sea", region=engine.classes[7])], "a scene", num_inference_steps=1
    )
    unchanged = changed(of_map, picture=edited.map)
    refused: tuple[tuple[Any, Any, dict[str, Any], str], ...] = (
        (of_map, picture[1:], {}, r"image has the shape \(127, 128, 3\)"),
        (of_map, picture, {"seam": 0}, "seam is 0, expected 1 to 64"),
        (of_map, picture, {"seam": 1.5}, "seam must be a whole number"),
        (of_map, picture, {"strength": 2.0}, "strength is 2"),
        (unchanged, picture, {}, "the edited map is the inverted one"),
        (changed(of_map, factor="image"), picture, {}, "the result of an edit of a map"),
        (changed(of_map, picture=Image.new("RGB", (3, 3))), picture, {}, "the inverted one 3 x 3"),
    )
    for inversion, image, options, message in refused:
        with pytest.raises(RequestError, match=message):
            engine.paste(inversion, edited, image, "a scene", **options)


def test_inversions_of_pictures_draw_their_noise_from_the_seed(engine: Engine) -> None:
    rng = np.random.default_rng(1)
    picture = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
    options: dict[str, Any] = {"image": picture, "steps": 4, "factors": {"segmentation": None}}
    one, same, other = (engine.invert(seed=seed, **options) for seed in (1, 1, 2))
    assert (one.height, one.width) == (64, 64)
    assert (one.remainders == same.remainders).all()
    assert (one.remainders != other.remainders).any()
    noise = rng.standard_normal((3, *one.latents.shape)).astype(np.float32)
    given = [engine.invert(seed=seed, noise=noise, **options) for seed in (1, 2)]
    assert (given[0].remainders == given[1].remainders).all()
    back = engine.invert(sampler="ddim", eta=0.0, **options)
    assert back.remainders.shape == (0, *one.latents.shape)


def test_a_file_holds_all_of_it(engine: Engine, of_map: Inversion, tmp_path: Path) -> None:
    path = tmp_path / "map.npz"
    of_map.save(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["map.npz"]
    read = Inversion.load(path)
    for field in dataclasses.fields(Inversion):
        ours, theirs = getattr(read, field.name), getattr(of_map, field.name)
        if isinstance(ours, np.ndarray):
            assert (ours == theirs).all()
        elif field.name == "picture":
            assert (np.asarray(ours) == np.asarray(theirs)).all()
        else:
            assert ours == theirs, field.name
    edits = [Edit("a dog", scale=6.0)]
    options: dict[str, Any] = {"num_inference_steps": 2, "seed": 1}
    ours, theirs = (engine.edit(one, edits, "a dog", **options) for one in (read, of_map))
    assert (np.asarray(ours.image) == np.asarray(theirs.image)).all()


def test_a_file_that_is_none_is_refused(of_map: Inversion, tmp_path: Path) -> None:
    path = tmp_path / "map.npz"
    with pytest.raises(RequestError, match=r"map\.npz': No such file.*Inversion\.save wrote"):
        Inversion.load(path)
    of_map.save(path)
    whole = path.read_bytes()
    for content in (
        b"",
        b"text",
        whole[: len(whole) // 2],
        whole.replace(b"settings", b"sittings"),
    ):
        path.write_bytes(content)
        with pytest.raises(RequestError, match=r"can't read the inversion"):
            Inversion.load(path)
    changed(of_map, latents=of_map.latents[:, 1:]).save(path)
    with pytest.raises(RequestError, match="latents and remainders have the shapes"):
        Inversion.load(path)


def test_what_does_not_fit_is_refused(engine: Engine, of_map: Inversion) -> None:
    dog = [Edit("a dog")]
    edits_refused: tuple[tuple[Any, Any, dict[str, Any], str], ...] = (
        (of_map, [], {}, "edits has 0 entries, expected 1 to 8"),
        (of_map, "a dog", {}, r"edits must be a list of fgdm\.Edit"),
        (of_map, ["a dog"], {}, r"edits\[0\] must be an fgdm\.Edit"),
        (of_map, [Edit("a dog", "x")], {}, r"edits\[0\] direction is 'x'"),  # type: ignore[arg-type]
        (of_map, [Edit("a dog", scale=101.0)], {}, r"edits\[0\] scale is 101"),
        (of_map, [Edit("a dog", threshold=2.0)], {}, "threshold is 2"),
        (of_map, [Edit("a dog", warm_up=6)], {}, "warm_up is 6, expected 0 to 5"),
        (of_map, [Edit("a dog", region="unicorn")], {}, "unicorn"),
        (of_map, [Edit("a dog", mask=np.ones((3, 3), bool))], {}, "mask is 3 x 3"),
        (of_map, dog, {"prompt": ""}, "prompt is empty"),
        (of_map, dog, {"height": 64}, "the inversion is of one of 128x128"),
        (of_map, dog, {"factors": {"segmentation": {"candidates": 2}}}, "candidates is set"),
        (changed(of_map, bundle="0" * 64), dog, {}, "invert the picture with this bundle"),
        (changed(of_map, steps=9), dog, {}, "remainders of the inversion has"),
        (changed(of_map, sampler="euler"), dog, {}, '"euler", expected'),
        ({}, dog, {}, "inversion must be what"),
    )
    for inversion, edits, options, message in edits_refused:
        with pytest.raises(RequestError, match=message):
            engine.edit(inversion, edits, **{"prompt": "a dog", **options})
    refused: tuple[tuple[dict[str, Any], str], ...] = (
        ({}, "give an image or a map"),
        ({"map": labels(), "steps": 1}, "num_inference_steps of the inversion is 1"),
        ({"map": labels(), "skip": 1.0}, "skip is 1"),
        ({"map": labels(), "eta": 0.0}, "eta is 0"),
        ({"map": labels(), "factor": "smell"}, 'factor is "smell"'),
        ({"map": labels()[1:]}, "height is 126"),
        ({"map": np.full((64, 64), 200, np.uint8)}, "200"),
        ({"map": labels(), "noise": np.zeros(3, np.float32)}, "noise of the inversion has 3"),
    )
    for options, message in refused:
        with pytest.raises(RequestError, match=message):
            engine.invert(**options)


def test_edits_that_are_to_follow_are_refused_before_the_inversion(engine: Engine) -> None:
    """Whoever edits what isn't inverted yet shall not wait for a scale that is none."""
    before = engine.metrics()["accepted"]
    refused: tuple[tuple[Any, str], ...] = (
        ([Edit("a dog")] * 9, "edits has 9 entries"),
        (["a dog"], r"edits\[0\] must be an fgdm\.Edit"),
        ([Edit("a dog"), Edit(" ")], r"edits\[1\] prompt is empty"),
        ([Edit("a dog", scale=101.0)], r"edits\[0\] scale is 101, expected 0 to 100"),
        ([Edit("a dog", threshold=-0.1)], r"threshold is -0\.1, expected 0 to 1"),
        ([Edit("a dog", warm_up=6)], "warm_up is 6, expected 0 to 5"),
        ([Edit("a dog", warm_up=2, cool_down=2)], "cool_down is 2, expected 3 to 6"),
        ([Edit("a dog", region="unicorn")], "unicorn"),
        ([Edit("a dog", mask=np.ones((3, 3), bool))], "mask is 3 x 3"),
        ([Edit("a dog", mask=np.zeros((SIDE, SIDE), bool))], "marks no pixel"),
        ([Edit("a dog", attention=True)], r"attention is set, .* with --attention-maps"),
        ([Edit("a dog", attention=1)], "attention must be"),  # type: ignore[arg-type]
    )
    for edits, message in refused:
        with pytest.raises(RequestError, match=message):
            engine.submit_inversion(map=labels(), steps=8, edits=edits)
    assert engine.metrics()["accepted"] == before


def test_edits_that_are_to_follow_change_no_inversion(engine: Engine, of_map: Inversion) -> None:
    again = engine.invert(map=labels(), steps=8, seed=3, edits=[Edit("a dog", scale=9.0)])
    np.testing.assert_array_equal(again.remainders, of_map.remainders)
    np.testing.assert_array_equal(again.latents, of_map.latents)


def test_an_inversion_is_a_job_like_others(engine: Engine) -> None:
    steps = []
    job = engine.submit_inversion(
        map=labels(), steps=4, step_callback=lambda info: steps.append(info.step)
    )
    assert isinstance(job.result(), Inversion)
    assert steps == [0, 1, 2]
    cancelled = engine.submit_inversion(map=labels(), steps=100, step_callback=lambda _: True)
    with pytest.raises(Exception, match="the step callback stopped"):
        cancelled.result()


@pytest.mark.parametrize("name", ["invert", "edit"])
def test_what_waits_takes_what_submits(name: str) -> None:
    submit = Engine.submit_inversion if name == "invert" else Engine.submit_edit
    ours, theirs = inspect.signature(getattr(Engine, name)), inspect.signature(submit)
    assert ours.parameters == theirs.parameters
    assert theirs.return_annotation == f"Job[{ours.return_annotation}]"
    assert getattr(Engine, name).__name__ == name
