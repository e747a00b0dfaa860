"""Many requests on one engine, with the real runtime: company, waiting, savings, measurement."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fgdm.cli import command
from fgdm.engine import Engine
from fgdm.errors import CancelledError, DeadlineError, QueueFullError, RequestError
from fgdm.statistics import psnr

PROMPT = "a dog and a ball on the grass"
QUICK: dict[str, Any] = {"candidates": 3, "condition_steps": 4, "num_inference_steps": 4}


@pytest.fixture(scope="module")
def engine(tiny_bundle: Path) -> Iterator[Engine]:
    with Engine(tiny_bundle, backend="cpu", precision="fp32") as opened:
        yield opened


def test_company_changes_nothing(engine: Engine) -> None:
    """In float32: 60 dB, and the same candidate."""
    requests: list[dict[str, Any]] = [
        {"seed": 1},
        {"seed": 2, "guidance": "cfg", "num_inference_steps": 6},
        {"seed": 3, "sampler": "dpmsolver++", "candidates": 5},
        {"seed": 4, "height": 128, "width": 128},  # its maps are as large as the others' images
        {"seed": 5, "condition_steps": 2, "negative_prompt": "a ball"},
        {"seed": 6, "sampler": "euler_ancestral", "condition_sampler": "dpmsolver++_sde"},
        {"seed": 7, "sampler": "lcm", "condition_sampler": "unipc", "condition_steps": 5},
    ]
    jobs = [engine.submit(PROMPT, **{**QUICK, **request}) for request in requests]
    for job, request in zip(jobs, requests, strict=True):
        together = job.result()
        alone = engine.generate(PROMPT, **{**QUICK, **request})
        assert together.chosen == alone.chosen
        assert psnr(together.image, alone.image) >= 60
        assert together.timings["queue"] >= 0


def test_rows_of_many_requests_share_batches(engine: Engine) -> None:
    before = engine.metrics()
    jobs = [engine.submit(PROMPT, seed=seed, **QUICK) for seed in range(6)]
    for job in jobs:
        job.result()
    after = engine.metrics()
    rows, batches = (after[name] - before[name] for name in ("rows", "batches"))
    assert rows == 6 * (3 * 4 * 2 + 4 * 2)
    assert batches < 6 * (4 + 4), "one at a time would take so many"
    assert after["finished"] - before["finished"] == 6
    assert after["context_hits"] > before["context_hits"]
    assert after["active"] == after["queued"] == 0


def test_jobs_can_be_awaited(engine: Engine) -> None:
    async def paint() -> list[int]:
        jobs = [engine.submit(PROMPT, seed=seed, **QUICK) for seed in range(3)]
        return [result.seed for result in await asyncio.gather(*jobs)]

    assert asyncio.run(paint()) == [0, 1, 2]


def test_a_cancelled_await_cancels_the_job(engine: Engine) -> None:
    async def give_up() -> Any:
        job = engine.submit(PROMPT, candidates=40, condition_steps=200)

        async def wait() -> None:
            await job

        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(wait(), timeout=0.05)
        return job

    job = asyncio.run(give_up())
    assert job.wait(timeout=20)


def test_an_awaited_failure_is_raised(engine: Engine) -> None:
    async def too_late() -> None:
        await engine.submit(PROMPT, deadline=0.0, **QUICK)

    with pytest.raises(DeadlineError, match=r"deadline of 0 s passed"):
        asyncio.run(too_late())


def test_word_is_passed_on_when_a_job_is_done(engine: Engine) -> None:
    told = threading.Event()
    job = engine.submit(PROMPT, **QUICK)
    job.when_done(told.set)
    assert told.wait(20) and job.done()
    late = threading.Event()
    job.when_done(late.set)
    assert late.is_set(), "a job that is done tells at once"


def test_a_full_queue_says_what_to_do(tiny_bundle: Path) -> None:
    hold = threading.Event()
    with Engine(tiny_bundle, backend="cpu", max_queue=1, max_active=1) as engine:
        first = engine.submit(PROMPT, step_callback=lambda _: not hold.wait(20), **QUICK)
        while engine.metrics()["active"] == 0 and engine.metrics()["queued"] == 1:
            pass
        second = engine.submit(PROMPT, **QUICK)
        with pytest.raises(QueueFullError, match="max_queue; try again"):
            engine.submit(PROMPT, **QUICK)
        hold.set()
        first.result()
        second.result()


def test_savings_are_reported(engine: Engine) -> None:
    options: dict[str, Any] = {**QUICK, "candidates": 8, "condition_steps": 6}
    everything = engine.generate(PROMPT, seed=3, **options)
    pruned = engine.generate(PROMPT, seed=3, prune=[2, 4], **options)
    assert everything.map_rows == 8 * 6 * 2
    assert pruned.map_rows == (8 * 2 + 4 * 2 + 2 * 2) * 2
    assert [c.steps for c in pruned.candidates].count(6) == 2
    assert not pruned.candidates[pruned.chosen].pruned
    survivor = pruned.candidates[pruned.chosen]
    same = everything.candidates[survivor.index]
    assert psnr(survivor.map, same.map) > 50, "pruning changes no candidate that stays"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prune": [4]}, "prune has 4, expected steps from 1 to 3"),
        ({"prune": [2, 2]}, "prune must ascend"),
        ({"prune": [1], "condition_steps": 1}, "take one step, .*leave prune out"),
        ({"negative_prompt": "x" * 40_000}, "negative_prompt has 40000 bytes, expected at most"),
        ({"prune": 2}, "prune must be a list of whole numbers"),
        ({"stop_at_recall": 1.5}, "stop_at_recall is 1.5, expected 0 to 1"),
        ({"wave": 2}, "without stop_at_recall"),
        ({"guidance_interval": (0.5, 0.2)}, "expected two fractions"),
        ({"guidance_interval": (0.5,)}, "must be two fractions"),
        ({"priority": 5000}, "priority is 5000, expected -1000 to 1000"),
        ({"deadline": float("nan")}, "deadline is nan"),
    ],
)
def test_bad_options_are_refused(engine: Engine, options: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        engine.submit(PROMPT, **{**QUICK, **options})


def test_unknown_options_are_type_errors(engine: Engine) -> None:
    with pytest.raises(TypeError, match="no option 'steps'; it has negative_prompt"):
        engine.submit(PROMPT, steps=4)  # type: ignore[call-arg]


def test_profile_is_measured_stored_and_used(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["profile", str(tiny_bundle), "--backend=cpu", "--rows=1,2", "--repeats=1"]
    assert command.main([*arguments, "--json"]) == 0
    profile = json.loads(capsys.readouterr().out)
    ((key, sizes),) = profile["profiles"].items()
    assert "cpu fp32" in key and len(sizes) == 2
    sizes_asked = ["--image-size=64x64", "--image-size=64x96"]
    assert command.main([*arguments, "--json", *sizes_asked]) == 0
    (asked,) = json.loads(capsys.readouterr().out)["profiles"].values()
    assert {(t["latent_height"], t["latent_width"]) for t in asked} == {
        *((t["latent_height"], t["latent_width"]) for t in sizes),
        (8, 12),
        (16, 24),
    }
    # One row is declared a hundred times cheaper than two: batches have one candidate from now on.
    for size in sizes:
        size["seconds"] = {"2": 0.01, "4": 1.0}
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(profile))
    with Engine(tiny_bundle, backend="cpu", profile=path) as engine:
        engine.generate(PROMPT, seed=1, **QUICK)
        assert engine.metrics()["batches"] == 3 * 4 + 4


def test_trace_opens_as_json(tiny_bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    with Engine(tiny_bundle, backend="cpu", trace=path) as engine:
        engine.generate(PROMPT, seed=1, **QUICK)
    events = json.loads(path.read_text())
    assert {"sessions", "batches", "requests"} <= {event.get("tid") for event in events}
    with pytest.raises(RequestError, match="trace"):
        Engine(tiny_bundle, backend="cpu", trace=tmp_path / "missing" / "trace.json")


def test_a_lost_trace_is_told(tiny_bundle: Path) -> None:
    engine = Engine(tiny_bundle, backend="cpu", trace="/dev/full")
    engine.generate(PROMPT, seed=1, **QUICK)
    with pytest.warns(RuntimeWarning, match="trace /dev/full is incomplete.*No space left"):
        engine.close()


def test_threads_submit_at_once(engine: Engine) -> None:
    images: dict[int, Any] = {}

    def work(thread: int) -> None:
        for seed in range(thread, 12, 4):
            images[seed] = engine.generate(PROMPT, seed=seed, **QUICK).image

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(images) == 12
    for seed in (0, 5, 11):
        assert psnr(images[seed], engine.generate(PROMPT, seed=seed, **QUICK).image) >= 60


@pytest.mark.parametrize("where", ["done", "step"])
def test_a_callback_may_close_the_engine(tiny_bundle: Path, where: str) -> None:
    """It runs on the thread that closing otherwise waits for."""
    opened = Engine(tiny_bundle, backend="cpu", precision="fp32", max_active=1)
    submitted = threading.Event()

    def close(*_: object) -> None:
        if submitted.wait(60):
            opened.close()

    first = opened.submit(PROMPT, step_callback=close if where == "step" else None, **QUICK)
    if where == "done":
        first.when_done(close)
    others = [opened.submit(PROMPT, seed=seed, **QUICK) for seed in range(2)]
    submitted.set()
    for job in others if where == "done" else [first, *others]:
        assert job.wait(60)
        with pytest.raises(CancelledError):
            job.result()
    if where == "done":
        assert first.result().image is not None
    with pytest.raises(RequestError, match="closed"):
        opened.submit(PROMPT)
