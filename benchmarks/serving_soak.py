"""A service under requests of every kind, good and bad: each is answered once, and nothing grows.

python -m benchmarks.serving_soak bundles/scenes --requests 2000 --output out/serving-soak.json

Of the requests 20 % leave before they are answered, 5 % are jobs that are cancelled, 5 % ask for
what isn't allowed, and 2 % fail in the engine: their bundle, a copy of the other, has a decoder
that makes no numbers. The others are pictures in one body, as addresses, as streams, edits with a
mask, and jobs. Every request has an outcome that it must come to. Afterwards the engines must have
ended each request that they accepted exactly once, and the service must have counted each that
reached it exactly once, under the outcome that its client saw.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.command import add_prompts, chosen_prompts, make_parser
from benchmarks.machine import write_results
from benchmarks.served import Service, Usage, service
from benchmarks.spoilt import spoil

#: Small pictures, so that the service, and not the networks, has most to do.
QUICK: dict[str, Any] = {
    "candidates": 2,
    "condition_steps": 2,
    "num_inference_steps": 2,
    "stop_at_recall": 0,
    "size": "64x64",
}
#: Of 100 requests: how many of which kind.
KINDS = {
    "picture": 24,
    "address": 12,
    "stream": 14,
    "edit": 8,
    "job": 10,
    "leaves": 20,
    "cancelled": 5,
    "refused": 5,
    "fails": 2,
}
#: The model that fails.
_SPOILT = "spoilt"
_GENERATE, _EDIT = "/v1/images/generations", "/v1/images/edits"


def _png(mode: str) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (128, 128, len(mode)), np.uint8)
    Image.fromarray(pixels, mode).save(buffer, "PNG")
    return buffer.getvalue()


#: Seconds for what clients left to end and be counted.
_PATIENCE = 120

_PHOTO, _MASK = _png("RGB"), _png("RGBA")


class Load:
    """The clients. outcomes: how many requests of each kind came to which end."""

    def __init__(self, address: str, prompts: list[str], seed: int) -> None:
        self.http = httpx.AsyncClient(base_url=address, timeout=600, limits=httpx.Limits())
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.waits: list[float] = []  # of pictures in one body, in seconds
        self._prompts, self._random = prompts, random.Random(seed)

    def kind(self) -> str:
        return self._random.choices(list(KINDS), list(KINDS.values()))[0]

    async def ask(self, number: int, kind: str) -> None:
        """One request, to its end."""
        body = {"prompt": self._random.choice(self._prompts), "seed": number, **QUICK}
        began = time.perf_counter()
        ways: dict[str, Callable[[dict[str, Any]], Awaitable[str]]] = {
            "picture": self._picture,
            "address": self._address,
            "stream": self._stream,
            "edit": self._edit,
            "job": self._job,
            "leaves": self._leaves,
            "cancelled": self._cancelled,
            "refused": self._refused,
            "fails": self._fails,
        }
        self.outcomes[kind, await ways[kind](body)] += 1
        if kind == "picture":
            self.waits.append(time.perf_counter() - began)

    async def _picture(self, body: dict[str, Any]) -> str:
        answer = await self.http.post(_GENERATE, json=body)
        return _picture_in(answer)

    async def _address(self, body: dict[str, Any]) -> str:
        answer = await self.http.post(_GENERATE, json={**body, "response_format": "url"})
        if answer.status_code != 200:
            return f"status {answer.status_code}"
        fetched = await self.http.get(answer.json()["data"][0]["url"])
        return "done" if fetched.content[:4] == b"\x89PNG" else f"status {fetched.status_code}"

    async def _stream(self, body: dict[str, Any]) -> str:
        kinds = []
        async with self.http.stream(
            "POST", _GENERATE, json={**body, "stream": True, "partial_images": 2}
        ) as stream:
            async for line in stream.aiter_lines():
                if line.startswith("data: "):
                    kinds.append(json.loads(line[6:])["type"])
        return "done" if kinds.count("image_generation.completed") == 1 else f"events {kinds}"

    async def _edit(self, body: dict[str, Any]) -> str:
        fields = {name: str(value) for name, value in body.items()}
        files = {"image": ("a.png", _PHOTO), "mask": ("b.png", _MASK)}
        return _picture_in(await self.http.post(_EDIT, data=fields, files=files))

    async def _job(self, body: dict[str, Any]) -> str:
        name = (await self.http.post("/v1/jobs", json=body)).json()["id"]
        ends = await self._events(name)
        image = await self.http.get(f"/v1/jobs/{name}/images/0")
        return "done" if ends == ["job.done"] and image.status_code == 200 else f"events {ends}"

    async def _events(self, name: str) -> list[str]:
        """The ends that a job's events tell of."""
        ends = []
        async with self.http.stream("GET", f"/v1/jobs/{name}/events") as stream:
            async for line in stream.aiter_lines():
                if line.startswith("event: ") and line[7:] not in ("job.queued", "job.running"):
                    ends.append(line[7:])
        return ends

    async def _leaves(self, body: dict[str, Any]) -> str:
        """Before or after the answer has begun."""
        try:
            if self._random.random() < 0.5:
                await self.http.post(_GENERATE, json=body, timeout=self._random.uniform(0.01, 0.3))
            else:
                async with self.http.stream("POST", _GENERATE, json={**body, "stream": True}):
                    pass
        except httpx.TimeoutException:
            return "left"
        return "left"

    async def _cancelled(self, body: dict[str, Any]) -> str:
        long = {**body, "condition_steps": 40, "candidates": 8}
        name = (await self.http.post("/v1/jobs", json=long)).json()["id"]
        await asyncio.sleep(self._random.uniform(0, 0.2))
        await self.http.delete(f"/v1/jobs/{name}")
        ends = await self._events(name)
        return "cancelled" if ends == ["job.cancelled"] else f"events {ends}"

    async def _refused(self, body: dict[str, Any]) -> str:
        mistakes: list[dict[str, Any]] = [
            {"candidates": 0},
            {"size": "large"},
            {"objects": ["unicorn"]},
            {"guidance": "none"},
        ]
        wrong = self._random.choice(mistakes)
        answer = await self.http.post(_GENERATE, json={**body, **wrong})
        return "refused" if answer.status_code == 400 else f"status {answer.status_code}"

    async def _fails(self, body: dict[str, Any]) -> str:
        answer = await self.http.post(_GENERATE, json={**body, "model": _SPOILT})
        return "failed" if answer.status_code == 500 else f"status {answer.status_code}"


def _picture_in(answer: httpx.Response) -> str:
    if answer.status_code != 200:
        return f"status {answer.status_code}"
    (data,) = answer.json()["data"]
    return "done" if base64.b64decode(data["b64_json"])[:4] == b"\x89PNG" else "no PNG"


#: What each kind must come to.
EXPECTED = dict.fromkeys(("picture", "address", "stream", "edit", "job"), "done") | {
    "leaves": "left",
    "cancelled": "cancelled",
    "refused": "refused",
    "fails": "failed",
}


async def counted(http: httpx.AsyncClient) -> tuple[dict[str, float], dict[str, float]]:
    """The engines' counters, together, and requests by outcome, as the service tells them."""
    text = (await http.get("/metrics")).text
    engine: dict[str, float] = {}
    outcomes: defaultdict[str, float] = defaultdict(float)
    for family in text_string_to_metric_families(text):
        if family.name.startswith("fgdm_engine_") and family.type in ("counter", "gauge"):
            name = family.name.removeprefix("fgdm_engine_")
            engine[name] = sum(sample.value for sample in family.samples)
        for sample in family.samples:
            if sample.name == "fgdm_requests_total":
                outcomes[sample.labels["outcome"]] += sample.value
    return engine, dict(outcomes)


def miscounted(seen: Mapping[tuple[str, str], int], told: Mapping[str, float]) -> list[str]:
    """Outcomes that the service tells otherwise than its clients saw them. Of those that left, it
    doesn't tell those whose request had not reached it, and some were done before."""
    kinds: Counter[str] = Counter()
    for (kind, _), count in seen.items():
        kinds[kind] += count
    left = kinds["leaves"]
    least = {
        "done": sum(kinds[kind] for kind, end in EXPECTED.items() if end == "done"),
        "cancelled": kinds["cancelled"],
        "invalid_value": kinds["refused"],
        "engine_error": kinds["fails"],
    }
    wrong = [name for name in told if name not in (*least, "client_gone")]
    for name, count in least.items():
        most = count + (left if name in ("done", "cancelled") else 0)
        if not count <= told.get(name, 0) <= most:
            wrong.append(f"{name}: {told.get(name, 0):g}, expected {count} to {most}")
    if sum(told.values()) > kinds.total():
        wrong.append(f"{sum(told.values()):g} of {kinds.total()} requests")
    return wrong


async def soak(
    running: Service, prompts: list[str], requests: int, clients: int, seed: int
) -> dict[str, Any]:
    """So many requests from so many clients, in four quarters; usage after each."""
    load = Load(running.address, prompts, seed)
    usages: list[Usage] = []
    p99s: list[float | None] = []  # of a quarter; None if no picture was among its requests
    began = time.perf_counter()
    for number in range(40):  # what is made once: connections, buffers of every shape
        await load.ask(number, list(KINDS)[number % len(KINDS)])
    warm = Counter(load.outcomes)
    end = 40
    for quarter in range(4):
        begin, end = end, 40 + requests * (quarter + 1) // 4
        numbers = iter(range(begin, end))
        load.waits.clear()

        async def client(numbers: Iterator[int] = numbers) -> None:
            for number in numbers:
                await load.ask(number, load.kind())

        await asyncio.gather(*(client() for _ in range(clients)))
        usages.append(running.usage)
        p99s.append(float(np.percentile(load.waits, 99)) if load.waits else None)
        print(
            f"{end - 40} of {requests} requests, {time.perf_counter() - began:.0f} s, "
            f"{usages[-1].memory / 1e6:.0f} MB, {usages[-1].files} files",
            file=sys.stderr,
        )
    seconds = time.perf_counter() - began
    while True:
        engine, told = await counted(load.http)
        ended = engine["finished"] + engine["failed"] + engine["cancelled"]
        if not engine["queued"] + engine["active"] and _of_engines(told) == ended:
            break
        if time.perf_counter() - began - seconds > _PATIENCE:
            break  # it is one of the results
        await asyncio.sleep(0.1)
    await load.http.aclose()
    return {
        "requests": sum((load.outcomes - warm).values()),
        "seconds": seconds,
        "outcomes": named(load.outcomes),
        "unexpected": named(
            {end: n for end, n in load.outcomes.items() if EXPECTED[end[0]] != end[1]}
        ),
        "engine": engine,
        "counted": told,
        "answered_once": engine["accepted"] == ended == _of_engines(told),
        "miscounted": miscounted(load.outcomes, told),
        "memory": [usage.memory for usage in usages],
        "files": [usage.files for usage in usages],
        "p99_by_quarter": p99s,
    }


def _of_engines(told: Mapping[str, float]) -> float:
    """Requests that an engine took: each of these asks for one picture."""
    return sum(told.get(outcome, 0) for outcome in ("done", "cancelled", "engine_error"))


def named(outcomes: Mapping[tuple[str, str], int]) -> dict[str, int]:
    return {f"{kind}: {end}": count for (kind, end), count in sorted(outcomes.items())}


def main(arguments: list[str] | None = None) -> int:
    parser = make_parser(__doc__)
    add_prompts(parser)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    prompts = [one.prompt for one in chosen_prompts(given)]
    with (
        tempfile.TemporaryDirectory() as folder,
        service(
            given.bundle,
            f"{_SPOILT}={_spoilt(given.bundle, Path(folder) / _SPOILT)}",
            *("--threads", str(given.threads), "--max-steps", "60"),
        ) as running,
    ):
        results = asyncio.run(soak(running, prompts, given.requests, given.clients, given.seed))
    memory, files = results["memory"], results["files"]
    print(json.dumps(results["outcomes"], indent=1))
    print(f"every accepted request ended once: {results['answered_once']}")
    print(f"unexpected: {results['unexpected'] or 'none'}")
    print(f"miscounted: {results['miscounted'] or 'none'}")
    print(
        f"from the first quarter to the last: {(memory[-1] - memory[0]) / 1e6:+.1f} MB, "
        f"{files[-1] - files[0]:+d} open files"
    )
    print(f"p99 of a picture by quarter, in seconds: {results['p99_by_quarter']}")
    write_results(given.output, results)
    right = results["answered_once"] and not results["unexpected"] and not results["miscounted"]
    return 0 if right else 1


def _spoilt(bundle: Path, copy: Path) -> Path:
    weights = "vae/diffusion_pytorch_model.safetensors"
    return spoil(bundle, copy, weights, "decoder.conv_out.bias", float("nan"))


if __name__ == "__main__":
    sys.exit(main())
