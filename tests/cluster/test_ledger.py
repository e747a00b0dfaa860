"""Jobs that outlive their replicas: the ledger by itself, and boards of two replicas over one."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fgdm.serve.board import Picture
from fgdm.serve.cluster.board import SharedBoard
from fgdm.serve.cluster.ledger import MOST_ATTEMPTS, Ledger, Limits, Painted
from fgdm.serve.cluster.scaling import CountedEngine
from fgdm.serve.errors import ApiError
from fgdm.serve.jobs import Jobs
from fgdm.serve.metrics import Metrics
from fgdm.serve.models import Models
from fgdm.serve.requests import ImageRequest, read_task
from fgdm.serve.runs import Runs
from fgdm.serve.settings import Settings
from fgdm.serve.store import Store
from PIL import Image

from tests.cluster.conftest import QUICK

BODY: dict[str, Any] = {"prompt": "two dogs beside a house", "seed": 5, **QUICK}
LONG: dict[str, Any] = {**BODY, "num_inference_steps": 12}
LEASE = 2.0


class Actor:
    """Calls as those of an actor: ``actor.method.remote(…)``."""

    def __init__(self, made: object) -> None:
        self._made = made

    def __getattr__(self, name: str) -> Any:
        method: Callable[..., Awaitable[Any]] = getattr(self._made, name)
        return type("Method", (), {"remote": staticmethod(method)})


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def make_ledger(clock: Callable[[], float] | None = None, settled: float = 0.0) -> Ledger:
    return Ledger(Limits(100, 8, 10**6, 10, 2, 10**6, LEASE), clock or Clock(), settled)


def queued(name: str) -> dict[str, Any]:
    return {"id": name, "status": "queued", "created": 7}


def test_jobs_of_a_silent_replica_are_shared_among_the_others() -> None:
    async def scenario() -> None:
        clock = Clock()
        ledger = make_ledger(clock)
        for number in range(4):
            await ledger.add(f"job{number}", "lost", "me", {"n": number}, queued(f"job{number}"))
        await ledger.tell("job3", "lost", {**queued("job3"), "status": "done"}, [])
        await ledger.beat("first", True)
        await ledger.beat("second", True)
        clock.now = LEASE + 1
        await ledger.beat("second", False)  # it drains
        taken = (await ledger.beat("first", True)).adopt
        assert [order.name for order in taken] == ["job0", "job1"]  # its share
        assert taken[1].body == {"n": 1} and taken[1].who == "me"
        others = (await ledger.beat("second", True)).adopt
        assert [order.name for order in others] == ["job2"]
        assert (await ledger.beat("first", True)).adopt == []
        running = {**queued("job0"), "status": "running"}
        assert await ledger.tell("job0", "lost", running, []) is False  # it comes too late
        assert await ledger.tell("job0", "first", running, []) is True
        assert await ledger.tell("never", "first", running, []) is None

    asyncio.run(scenario())


def test_a_job_that_ends_its_replicas_fails() -> None:
    async def scenario() -> None:
        clock = Clock()
        ledger = make_ledger(clock)
        await ledger.add("job", "0", "me", {}, queued("job"))
        for attempt in range(1, MOST_ATTEMPTS + 1):
            clock.now += LEASE + 1
            taken = (await ledger.beat(str(attempt), True)).adopt
            assert [order.name for order in taken] == ["job"] * (attempt < MOST_ATTEMPTS)
        found = await ledger.changed("job", -1, 0.0)
        assert found is not None
        assert found[1]["status"] == "failed" and found[1]["error"]["code"] == "replica_lost"

    asyncio.run(scenario())


def test_cancelling() -> None:
    async def scenario() -> None:
        ledger = make_ledger()
        await ledger.add("held", "one", "me", {}, queued("held"))
        await ledger.add("free", "gone", "me", {}, queued("free"))
        await ledger.leave("gone")
        await ledger.cancel("held")
        await ledger.cancel("free")
        assert (await ledger.beat("two", False)).cancel == []
        assert (await ledger.beat("one", False)).cancel == ["held"]
        found = await ledger.changed("free", -1, 0.0)
        assert found is not None and found[1]["status"] == "cancelled"
        assert await ledger.cancel("none") is None

    asyncio.run(scenario())


def test_changes_wake_whoever_waits_and_the_time_of_submission_stays() -> None:
    async def scenario() -> None:
        ledger = make_ledger()
        await ledger.add("job", "one", "me", {}, queued("job"))
        waiting = asyncio.ensure_future(ledger.changed("job", 0, 60.0))
        await asyncio.sleep(0)
        told = {"id": "job", "status": "running", "created": 99}
        await ledger.tell("job", "one", told, [])
        assert await asyncio.wait_for(waiting, 1) == (1, {**told, "created": 7})
        assert await ledger.changed("job", 1, 0.01) == (1, {**told, "created": 7})
        assert await ledger.changed("none", 0, 60.0) is None

    asyncio.run(scenario())


def test_pictures_are_found_by_name_for_a_time() -> None:
    async def scenario() -> None:
        clock = Clock()
        ledger = make_ledger(clock)
        picture: Picture = (b"bytes", "image/png")
        name = await ledger.keep(picture)
        assert await ledger.kept(name) == picture
        clock.now = 11
        assert await ledger.kept(name) is None
        await ledger.limit(Limits(100, 8, 10**6, 60, 2, 10**6, LEASE))
        name = await ledger.keep(picture)
        clock.now += 11
        assert await ledger.kept(name) == picture
        await ledger.add("job", "one", "me", {}, queued("job"))
        done = {**queued("job"), "status": "done"}
        await ledger.tell(
            "job", "one", done, [Painted(picture, {"depth": [(b"map", "image/png")]})]
        )
        for index, candidate, expected in ((0, None, b"bytes"), (0, 0, b"map"), (0, 1, None)):
            found = await ledger.painted("job", index, "depth", candidate)
            assert found is not None and (found.images, found.maps) == (1, 1)
            assert (found.picture[0] if found.picture else None) == expected

    asyncio.run(scenario())


def board_of(engine: CountedEngine, ledger: Ledger, owner: str) -> SharedBoard:
    models, settings = Models({"scenes": engine}), Settings()
    return SharedBoard(
        Jobs(settings, Runs(Metrics(models))),
        Store(10, 10),
        models=models,
        settings=settings,
        ledger=Actor(ledger),
        owner=owner,
    )


async def submit(board: SharedBoard, engine: CountedEngine, body: dict[str, Any]) -> str:
    request = ImageRequest.model_validate(body)
    task = read_task(request, Models({"scenes": engine}).find(None), Settings())
    described = await board.submit(task, request, "me")
    name: str = described["id"]
    return name


async def end_of(board: SharedBoard, name: str) -> str:
    events = [event async for event in await board.events(name)]
    assert events[-1].startswith("event: job.")
    return events[-1].split("\n")[0].removeprefix("event: job.")


def test_any_replica_answers_about_a_job(engine: CountedEngine) -> None:
    async def scenario() -> None:
        ledger = make_ledger()
        one, two = board_of(engine, ledger, "one"), board_of(engine, ledger, "two")
        name = await submit(one, engine, {**BODY, "n": 2})
        assert (await two.show(name))["status"] in ("queued", "running")
        assert await end_of(two, name) == "done"
        described = await two.show(name)
        assert [result["seed"] for result in described["results"]] == [5, 6]
        content, media_type = await two.image(name, 1)
        expected = engine.generate(BODY["prompt"], seed=6, **QUICK)
        assert media_type == "image/png"
        assert Image.open(io.BytesIO(content)).tobytes() == expected.image.tobytes()
        content, _ = await two.candidate(name, 1, None, 1)
        assert Image.open(io.BytesIO(content)).tobytes() == expected.candidates[1].map.tobytes()
        for ask, words in (
            (two.image(name, 2), "there is no image 2; there are 2"),
            (two.candidate(name, 0, None, 2), "there is no candidate 2; there are 2"),
            (two.show("none"), "there is no job 'none'"),
            (two.kept("none"), "there is no such picture"),
        ):
            with pytest.raises(ApiError, match=words):
                await ask
        assert (await two.kept(await one.keep((b"x", "image/png"))))[0] == b"x"

    asyncio.run(scenario())


def test_a_draining_replica_hands_its_jobs_over(engine: CountedEngine) -> None:
    """The next one paints the same picture, and the first one's is never seen."""

    async def scenario() -> None:
        ledger = make_ledger()
        one, two = board_of(engine, ledger, "one"), board_of(engine, ledger, "two")
        await one.begin()
        await two.begin()
        name = await submit(one, engine, LONG)
        with pytest.raises(ApiError, match="pictures are there once it is done"):
            await two.image(name, 0)
        await one.end(0.01)
        assert (await two.show(name))["status"] in ("queued", "running")
        assert await end_of(two, name) == "done"
        content, _ = await two.image(name, 0)
        options = {name: value for name, value in LONG.items() if name != "prompt"}
        expected = engine.generate("two dogs beside a house", **options)
        assert Image.open(io.BytesIO(content)).tobytes() == expected.image.tobytes()
        await two.end(1)

    asyncio.run(scenario())


def test_a_job_is_cancelled_through_another_replica(engine: CountedEngine) -> None:
    async def scenario() -> None:
        ledger = make_ledger()
        one, two = board_of(engine, ledger, "one"), board_of(engine, ledger, "two")
        await one.begin()
        name = await submit(one, engine, {**LONG, "n": 4})
        await two.cancel(name)
        assert await end_of(two, name) == "cancelled"
        await one.end(1)

    asyncio.run(scenario())


def test_a_ledger_that_began_anew_learns_of_what_is_at_work(engine: CountedEngine) -> None:
    async def scenario() -> None:
        actor = Actor(make_ledger())
        board = board_of(engine, make_ledger(), "one")
        board._ledger = actor
        await board.begin()
        names = [await submit(board, engine, BODY) for _ in range(3)]
        actor._made = make_ledger(settled=60)
        for name in names:  # whoever asks meanwhile waits for it
            await asyncio.wait_for(board.show(name), 30)
        assert [await end_of(board, name) for name in names] == ["done"] * 3
        await board.end(1)

    asyncio.run(scenario())
