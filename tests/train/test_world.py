"""The world must be what its captions and label maps say, and its splits must not touch."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from fgdm.train.captions import caption
from fgdm.train.classes import BACKGROUNDS, CLASSES, INDEX, THINGS
from fgdm.train.prompts import held_out_prompts, load_prompts
from fgdm.train.render import colorize, render
from fgdm.train.world import is_held_out, sample_scene

ROOT = Path(__file__).parents[2]


def test_palette_colours_are_far_apart_and_never_black() -> None:
    assert len(CLASSES) >= 20
    colors = np.array([entry.color for entry in CLASSES])
    for a, b in itertools.combinations(colors, 2):
        assert np.abs(a - b).max() >= 64  # more than twice the decoder's tolerance of 28
    assert colors.max(1).min() > 28


def test_a_seed_is_a_scene() -> None:
    first, second = render(sample_scene(7), 64), render(sample_scene(7), 64)
    assert np.array_equal(first.image, second.image)
    assert not np.array_equal(first.image, render(sample_scene(8), 64).image)


@pytest.mark.parametrize("seed", range(40))
def test_the_map_holds_exactly_the_scene(seed: int) -> None:
    scene = sample_scene(seed)
    labels = render(scene, 64, geometry=False).labels
    shown = {CLASSES[i].name for i in np.unique(labels)}
    assert shown & set(THINGS) <= scene.things
    areas = np.bincount(labels.ravel(), minlength=len(CLASSES)) / labels.size
    for thing in scene.things:
        assert areas[INDEX[thing]] >= 0.002, thing


@pytest.mark.parametrize("seed", range(40))
def test_the_caption_names_every_thing_and_no_other(seed: int) -> None:
    scene = sample_scene(seed)
    text = caption(scene)
    for thing in THINGS:
        entry = CLASSES[INDEX[thing]]
        words = (entry.name, entry.plural, *entry.synonyms)
        named = any(f" {word} " in f" {text.replace(',', ' ')} " for word in words)
        if thing in scene.things:
            assert named, (thing, text)


def test_geometry_is_physical() -> None:
    view = render(sample_scene(3), 96)
    assert np.allclose(np.linalg.norm(view.normals, axis=-1), 1, atol=1e-3)
    assert view.depth.min() >= 0 and view.depth.max() <= 1
    ground = view.labels == INDEX[sample_scene(3).ground]
    rows = np.nonzero(ground.any(1))[0]
    depth = [view.depth[row][ground[row]].mean() for row in rows]
    assert depth[0] > depth[-1]  # lower in the picture is nearer


def test_small_and_large_renderings_agree() -> None:
    scene = sample_scene(11)
    small, large = render(scene, 64).labels, render(scene, 128).labels
    assert (small == large[1::2, 1::2]).mean() > 0.95


def test_training_scenes_never_use_a_held_out_combination() -> None:
    assert not any(is_held_out(sample_scene(seed).things) for seed in range(300))


def test_held_out_prompts_are_graded_and_unseen() -> None:
    prompts = held_out_prompts(per_level=5)
    assert [len(p.things) for p in prompts] == [n for n in range(1, 9) for _ in range(5)]
    assert all(is_held_out(frozenset(p.things)) for p in prompts)
    assert len({p.prompt for p in prompts}) == len(prompts)


def test_the_benchmarks_prompts_are_the_held_out_ones() -> None:
    assert load_prompts(ROOT / "benchmarks/prompts.json") == held_out_prompts()


def test_colorize_uses_the_palette() -> None:
    labels = np.arange(len(CLASSES), dtype=np.uint8)[None]
    assert [tuple(c) for c in colorize(labels)[0]] == [entry.color for entry in CLASSES]
    assert set(THINGS).isdisjoint(BACKGROUNDS)
