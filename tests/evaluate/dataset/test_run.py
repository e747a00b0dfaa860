"""Data sets are the engine's own pictures, and the same however they were made."""

from __future__ import annotations

import io
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fgdm import exits
from fgdm.errors import BackendError, RequestError
from fgdm.evaluate.dataset import (
    Accepted,
    Listed,
    Made,
    Maker,
    Recipe,
    Setup,
    make_dataset,
    read_rejected,
    read_samples,
)
from fgdm.evaluate.dataset.workers import Workers
from fgdm.tuning.prompts import Prompt
from PIL import Image

from tests.evaluate.dataset.conftest import QUICK, SCENES, files_of, setup_of


def blind(picture: Image.Image) -> np.ndarray:
    """A segmenter that sees sky everywhere."""
    return np.full((1, 1), 16, np.uint8)


def test_samples_are_what_the_engine_makes(small: Path, maker: Maker) -> None:
    """The image and every map of a record's seed, to the bit; labels as indices and as colours."""
    records = list(read_samples(small))
    assert [record["index"] for _, record in records] == list(range(6))
    assert len({record["seed"] for _, record in records}) == 6
    for folder, record in records[:2]:
        expected = maker.engine.generate(
            record["prompt"],
            seed=record["seed"],
            objects=["car", "road"] if record["prompt"] == "a street" else None,
            factors={"depth": {}},
            **QUICK,
        )
        assert (folder / "image.png").exists()
        with Image.open(folder / "image.png") as image:
            assert image.tobytes() == expected.image.tobytes()
        with Image.open(folder / "segmentation.png") as labels:
            assert np.array_equal(np.asarray(labels), expected.labels)
            colors = np.asarray(labels.convert("RGB"))
        named = expected.labels != 255
        assert np.array_equal(colors[named], np.asarray(expected.map)[named])
        with Image.open(folder / "depth.png") as depth:
            assert depth.tobytes() == expected.factors["depth"].map.tobytes()
        assert record["recall"] == expected.recall
        assert record["requested"] == list(expected.requested)
        assert record["found"] == list(expected.found)
        assert record["compliance"] == expected.compliance
        areas = record["factors"]["segmentation"]["areas"]
        assert sum(areas.values()) == pytest.approx(float(named.mean()), abs=1e-4)
        assert record["parameters"]["condition_steps"] == 1
        assert "timings" not in json.dumps(record)


@pytest.mark.parametrize("options", [{"in_flight": 1}, {"workers": 2, "in_flight": 3}])
def test_it_is_the_same_however_it_is_made(
    small: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    make_dataset(setup_of(optional=("depth",)), tmp_path, 6, **options)
    assert files_of(tmp_path) == files_of(small)


def test_a_run_goes_on_where_another_ended(small: Path, tmp_path: Path) -> None:
    setup, seen = setup_of(optional=("depth",)), []
    assert make_dataset(setup, tmp_path, 3).made == 3
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    outcome = make_dataset(setup, tmp_path, 6, watch=lambda *at: seen.append(at))
    assert (outcome.before, outcome.made, outcome.rejected) == (3, 3, 0)
    assert seen == [(number, 3) for number in range(1, 4)]
    assert files_of(tmp_path) == files_of(small)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps, "none is made again"
    with pytest.raises(RequestError, match=r"begun with other values of recipe\.seed"):
        make_dataset(setup_of(optional=("depth",), seed=6), tmp_path, 6)
    assert files_of(tmp_path) == files_of(small)


def test_what_is_not_good_enough_is_tried_again_and_then_left_out(tmp_path: Path) -> None:
    recipe: dict[str, Any] = {
        "accepted": Accepted(compliance=1.0),
        "attempts": 4,
        "options": {**QUICK, "candidates": 1, "min_area": 0.002},
    }
    once, again = tmp_path / "once", tmp_path / "again"
    outcome = make_dataset(setup_of(**recipe), once, 3)
    kept, left_out = list(read_samples(once)), list(read_rejected(once))
    assert len(kept) + len(left_out) == 3 and len(left_out) == outcome.rejected
    assert kept and left_out and all(record["compliance"] == 1.0 for _, record in kept)
    assert any(record["rejected"] for _, record in kept), "some needed another seed"
    for record in left_out:
        assert [one["reasons"] for one in record["rejected"]] == [["compliance"]] * 4
        assert all(one["compliance"] < 1 for one in record["rejected"])
        assert len({one["seed"] for one in record["rejected"]}) == 4
    make_dataset(setup_of(**recipe), again, 3, in_flight=1)
    assert files_of(again) == files_of(once)


def test_pictures_that_do_not_show_their_map(tmp_path: Path) -> None:
    segmenter = f"{__name__}:blind"
    make_dataset(setup_of(segmenter=segmenter), tmp_path / "all", 2)
    for folder, record in read_samples(tmp_path / "all"):
        labels = np.asarray(Image.open(folder / "segmentation.png"))
        named = labels != 255
        assert record["agreement"]["classes"]["sky"] == pytest.approx(
            (labels[named] == 16).mean(), abs=1e-5
        )
    strict = setup_of(segmenter=segmenter, accepted=Accepted(agreement=0.9))
    assert make_dataset(strict, tmp_path / "none", 2).rejected == 2
    assert [r["rejected"][0]["reasons"] for r in read_rejected(tmp_path / "none")] == [
        ["agreement"]
    ] * 2
    with pytest.raises(RequestError, match="needs a segmenter"):
        setup_of(accepted=Accepted(agreement=0.9))


def test_refused_maps_are_rejected(tmp_path: Path) -> None:
    """Sky is on every map."""
    options = {**QUICK, "forbid": [{"classes": ["sky"], "min_area": 0.0}]}
    assert make_dataset(setup_of(options=options), tmp_path, 2).rejected == 2
    assert {r["rejected"][0]["reasons"][0] for r in read_rejected(tmp_path)} == {"refused"}


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({"seed": -1}, "the seed is -1"),
        ({"attempts": 0}, "attempts is 0"),
        ({"options": {"seed": 1}}, "can't have seed: every sample has its own"),
        ({"options": {"factors": 3}}, "the option factors is 3, expected an object"),
        ({"accepted": {"recall": 2.0}}, "the least recall is 2.0"),
    ],
)
def test_recipes_that_are_not_allowed(recipe: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        if "accepted" in recipe:
            Accepted(**recipe["accepted"])
        Recipe(Listed((Prompt("a dog"),)), **recipe)


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({"optional": ("height",)}, "the bundle has no factor 'height'; it has segmentation"),
        ({"options": {"candidate": 1}}, "a request has no option 'candidate'"),
        ({"options": {"candidates": 0}}, "candidates"),
    ],
)
def test_recipes_that_the_bundle_refuses(
    recipe: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(RequestError, match=words):
        make_dataset(setup_of(**recipe), tmp_path / "data", 2)
    assert not list(tmp_path.rglob("*.png")) and not list(tmp_path.rglob("*.part"))
    with pytest.raises(RequestError, match="count is 0"):
        make_dataset(setup_of(), tmp_path / "data", 0)


def test_whoever_leaves_the_loop_cancels_what_is_at_work(maker: Maker) -> None:
    before = maker.engine.metrics()["cancelled"]
    for _ in maker.make(range(10), in_flight=6):
        break
    metrics = maker.engine.metrics()
    assert metrics["cancelled"] > before
    assert metrics["active"] == metrics["queued"] == 0


def test_a_worker_that_is_killed_is_told_of(tmp_path: Path) -> None:
    killed: list[Any] = []

    @contextmanager
    def crew(setup: Setup) -> Iterator[Workers]:
        with Workers(setup, 1) as workers:
            killed.extend(workers._running.values())
            yield workers

    def kill(done: int, total: int) -> None:
        for process in killed:
            process.kill()
            process.join()

    with pytest.raises(BackendError, match=r"exit code -9.*run the same command to go on"):
        make_dataset(setup_of(), tmp_path, 6, in_flight=1, watch=kill, crew=crew)
    assert 1 <= len(list(read_samples(tmp_path))) < 6
    assert not list(tmp_path.rglob("*.part"))


def test_what_a_worker_raises_comes_through(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="a request has no option 'candidate'"):
        make_dataset(setup_of(options={"candidate": 1}), tmp_path, 2, workers=2)


def test_workers_of_two_runtimes_are_refused(tmp_path: Path, maker: Maker) -> None:
    class Mixed:
        identity = maker.identity()

        def make(self, indices: Sequence[int], in_flight: int) -> Iterator[Made]:
            record = {"engine": {**self.identity["engine"], "backend": "cuda"}}
            yield Made(0, record, {"image": b""})

    @contextmanager
    def crew(setup: Setup) -> Iterator[Mixed]:
        yield Mixed()

    with pytest.raises(BackendError, match="let all workers have one runtime"):
        make_dataset(setup_of(), tmp_path, 1, crew=crew)
    assert not list(read_samples(tmp_path))


def command(folder: Path, count: int, *more: str) -> list[str]:
    prompts = folder.parent / "prompts.json"
    texts: list[Any] = ["two dogs beside a house", "a boat on the sea under the sun"]
    prompts.write_text(json.dumps([*texts, {"prompt": "a street", "objects": ["car", "road"]}]))
    return [
        *(sys.executable, "-m", "fgdm", "dataset", str(SCENES), "--output", str(folder)),
        *("--count", str(count), "--prompts", str(prompts), "--seed", "5", "--quiet"),
        *("--backend", "cpu", "--threads", "1", "--options", json.dumps(QUICK), *more),
    ]


def kill_at_random(folder: Path, count: int, kills: int, seed: int) -> None:
    """Starts the command again and again, and kills it after a random number of new samples and a
    moment more; then lets it end."""
    drawn = random.Random(seed)
    for number in range(kills):
        with subprocess.Popen(command(folder, count)) as process:
            there = len(list(folder.glob("samples/*/*/sample.json")))
            aim = there + drawn.randrange(1, max(2, (count - there) // (kills - number)))
            while process.poll() is None:
                if len(list(folder.glob("samples/*/*/sample.json"))) >= aim:
                    time.sleep(drawn.random() * 0.2)
                    process.kill()
                    break
                time.sleep(0.02)
    subprocess.run(command(folder, count), check=True)


def test_kill_9_loses_and_doubles_nothing(tmp_path: Path) -> None:
    kill_at_random(tmp_path / "data", 8, 2, seed=1)
    whole = tmp_path / "whole"
    make_dataset(setup_of(), whole, 8)
    assert files_of(tmp_path / "data") == files_of(whole)


@pytest.mark.nightly
def test_a_thousand_pairs_and_ten_kills(tmp_path: Path) -> None:
    kill_at_random(tmp_path / "data", 1000, 10, seed=2)
    files = files_of(tmp_path / "data")
    indices = [record["index"] for _, record in read_samples(tmp_path / "data")]
    assert indices == list(range(1000)) and len(files) == 3000
    for name, content in files.items():
        if name.endswith(".png"):
            Image.open(io.BytesIO(content)).load()
    make_dataset(setup_of(), tmp_path / "whole", 1000, workers=2)
    assert files_of(tmp_path / "whole") == files


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGINT, exits.CANCELLED), (signal.SIGTERM, exits.TERMINATED)]
)
def test_ctrl_c_leaves_nothing_half_written(tmp_path: Path, sent: int, code: int) -> None:
    folder = tmp_path / "data"
    workers = ("--workers", "2") if sent == signal.SIGINT else ()
    with subprocess.Popen(
        command(folder, 10_000, *workers), stderr=subprocess.PIPE, text=True
    ) as process:
        until = time.monotonic() + 120
        while not list(folder.glob("samples/*/*/sample.json")):
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.01)
        process.send_signal(sent)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert errors.startswith("fgdm: ") and "Traceback" not in errors
    assert not list(folder.rglob("*.part"))
    for path, record in read_samples(folder):
        assert {entry.name for entry in path.iterdir()} == {
            "image.png",
            "segmentation.png",
            "sample.json",
        }
        assert record["index"] == int(path.name)


@pytest.mark.nightly
def test_memory_does_not_grow_with_samples(maker: Maker) -> None:
    """A sample's pixels are gone once it is taken."""

    def held(count: int) -> int:
        import gc  # noqa: PLC0415
        import tracemalloc  # noqa: PLC0415

        tracemalloc.start()
        largest = 0
        for _ in maker.make(range(count), in_flight=2):
            gc.collect()
            largest = max(largest, tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
        return largest

    held(3)
    assert held(12) < 1.5 * held(4)
