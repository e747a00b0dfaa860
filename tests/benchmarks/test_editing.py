"""Protects the benchmark of edits: what it asks for is not there yet, and what it counts."""

from __future__ import annotations

import numpy as np
import pytest
from fgdm.train.classes import INDEX

from benchmarks.editing import mean_iou, of_diffusers_time, succeeded, summarized
from benchmarks.editing_tasks import KINDS, Task, make_tasks


def test_tasks_ask_for_what_is_not_there_and_take_what_is() -> None:
    made = make_tasks(32, 25)
    assert [task.kind for task in made] == list(KINDS) * 2
    assert [task.index for task in made] == [0, 1, 2, 3, 100, 101, 102, 103]
    for task in made:
        assert not task.add or not (task.place & (task.labels == INDEX[task.add])).any()
        assert not task.remove or (task.labels == INDEX[task.remove]).mean() >= 0.01
        assert task.add in task.prompt
        assert not task.remove or task.kind == "move" or f"a {task.remove}" not in task.prompt
        assert not succeeded(task, task.labels)
        assert mean_iou(task.labels, task.labels, task.untouched) == 1.0
        assert task.image.shape == (64, 64, 3)


def test_an_edit_is_judged_by_what_came_what_went_and_the_rest() -> None:
    labels = np.full((16, 16), INDEX["grass"], np.uint8)
    labels[:2] = INDEX["sky"]
    labels[8:11, 8:11] = INDEX["dog"]
    old = labels == INDEX["dog"]
    image = np.zeros((32, 32, 3), np.uint8)
    task = Task(0, "replace", image, labels, ("dog",), "cat", "dog", old)
    replaced = np.where(old, INDEX["cat"], labels).astype(np.uint8)
    assert succeeded(task, replaced)
    both = labels.copy()
    both[9, 9] = INDEX["cat"]
    assert not succeeded(task, both), "the dog is still there"
    replaced[:2, :8] = INDEX["cat"]  # half of the sky
    assert mean_iou(labels, replaced, task.untouched) == pytest.approx((0.5 + 1.0) / 2)

    place = np.zeros((16, 16), bool)
    place[12:15, 2:6] = True
    move = Task(0, "move", image, labels, ("dog",), "dog", "dog", place)
    moved = np.where(old, INDEX["grass"], labels).astype(np.uint8)
    assert not succeeded(move, moved)
    moved[13, 3:5] = INDEX["dog"]
    assert succeeded(move, moved)


def test_figures_are_by_kind() -> None:
    rows = [{"index": i, "kind": kind, "seconds": float(i)} for i, kind in enumerate(KINDS)]
    made = summarized(rows)
    assert made["all"]["seconds"]["estimate"] == 1.5
    assert made["move"]["edits"] == 1


def test_times_are_told_of_the_rivals() -> None:
    ways = {
        "base": [{"seconds": 1.0}, {"seconds": 2.0}],
        "diffusers": [{"seconds": 4.0}, {"seconds": 2.0}],
    }
    assert of_diffusers_time(ways) == {"base": 0.5}
    assert of_diffusers_time({"base": ways["base"]}) == {}
