"""The service on a Ray cluster: a replica that is killed, replicas that come and go, an update.

Clients are the official openai package, which tries again by itself; each asks for small pictures,
one after another. All of it runs on this machine: python -m benchmarks.cluster
"""

from __future__ import annotations

import argparse
import collections
import functools
import os
import secrets
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import openai
import ray
from fgdm.serve.cluster.application import app
from fgdm.serve.cluster.arguments import Arguments
from ray import serve

from benchmarks.command import PROMPT
from benchmarks.machine import available_cores, write_results

QUICK = {"candidates": 2, "condition_steps": 2, "num_inference_steps": 4, "stop_at_recall": 0}
PORT = 8461
ADDRESS = f"http://127.0.0.1:{PORT}"
NAME = "fgdm"


@dataclass
class Load:
    """Clients, and what became of their requests. retries: of the official client."""

    retries: int
    answered: int = 0
    sent: int = 0
    failures: collections.Counter[str] = field(default_factory=collections.Counter)
    refusals: collections.Counter[str] = field(default_factory=collections.Counter)
    seconds: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, client: openai.OpenAI, seed: int) -> None:
        began = time.monotonic()
        try:
            answer = client.images.generate(prompt=PROMPT, extra_body={"seed": seed, **QUICK})
        except openai.OpenAIError as error:
            status = getattr(error, "status_code", "")
            with self.lock:
                self.failures[f"{type(error).__name__} {status}".strip()] += 1
            return
        assert answer.data is not None
        facts: Any = answer.data[0]
        with self.lock:
            self.seconds.append(time.monotonic() - began)
            self.answered += 1
            if facts.fgdm["seed"] != seed:
                self.failures["another request's answer"] += 1

    def summary(self) -> dict[str, Any]:
        return {
            "answered": self.answered,
            "failed": dict(self.failures),
            "tried_again_after": dict(self.refusals),
            "http_requests": self.sent,
            "client_retries": self.retries,
            "seconds_median": statistics.median(self.seconds) if self.seconds else None,
            "seconds_longest": max(self.seconds, default=None),
        }


@contextmanager
def loading(clients: int, retries: int = 2) -> Iterator[Load]:
    """So many clients, until the block ends; then each request is answered to its end."""
    load, stop = Load(retries), threading.Event()

    def sent(_: Any) -> None:
        with load.lock:
            load.sent += 1

    def received(response: Any) -> None:
        if response.status_code >= 400:
            with load.lock:
                load.refusals[str(response.status_code)] += 1

    def work(number: int) -> None:
        hooks: dict[str, list[Callable[..., Any]]] = {"request": [sent], "response": [received]}
        with (
            openai.DefaultHttpxClient(event_hooks=hooks, timeout=120) as http,
            openai.OpenAI(
                base_url=f"{ADDRESS}/v1", api_key="any", max_retries=retries, http_client=http
            ) as client,
        ):
            seed = number * 1_000_000
            while not stop.is_set():
                seed += 1
                load.ask(client, seed)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def replicas() -> dict[str, int]:
    """How many are in which state."""
    deployment = serve.status().applications[NAME].deployments[NAME]
    return {str(getattr(s, "value", s)): n for s, n in deployment.replica_states.items()}


def wait_for(what: Callable[[], bool], seconds: float) -> float | None:
    """Seconds until it is so, or None if it isn't by then."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        if what():
            return round(time.monotonic() - began, 2)
        time.sleep(0.1)
    return None


def processes() -> list[int]:
    """Of the replicas: descendants of this process by their titles."""
    parents, titles = {}, {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text()
                titles[int(folder.name)] = (folder / "cmdline").read_text()
            except OSError:
                continue
            parents[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])

    def is_ours(pid: int) -> bool:
        while pid in parents:
            if pid == os.getpid():
                return True
            pid = parents[pid]
        return False

    return [pid for pid, title in titles.items() if "ServeReplica:" in title and is_ours(pid)]


def kill(bundle: Path, clients: int, jobs: int, times: int) -> dict[str, Any]:
    """kill -9 of one of two replicas that have work, again and again."""
    deploy(bundle, min_replicas=2, max_replicas=2)
    kills: list[dict[str, Any]] = []
    with loading(clients) as load, httpx.Client(base_url=ADDRESS, timeout=120) as http:
        for _ in range(times):
            time.sleep(5)
            accepted = submit(http, jobs)
            os.kill(processes()[0], signal.SIGKILL)
            back = wait_for(lambda: len(processes()) == 2 and replicas() == {"RUNNING": 2}, 120)
            ended = wait_for(functools.partial(have_ended, http, accepted), 120)
            kills.append(
                {
                    "two_replicas_after_seconds": back,
                    "jobs_ended_after_another_seconds": ended,
                    "jobs": dict(collections.Counter(status_of(http, job) for job in accepted)),
                }
            )
        time.sleep(5)
    return {**load.summary(), "kills": kills}


def submit(http: httpx.Client, jobs: int) -> list[str]:
    """Their names."""
    bodies = [{"prompt": PROMPT, "seed": seed, **QUICK} for seed in range(jobs)]
    return [http.post("/v1/jobs", json=body).json()["id"] for body in bodies]


def status_of(http: httpx.Client, job: str) -> str:
    status: str = http.get(f"/v1/jobs/{job}").json()["status"]
    return status


def have_ended(http: httpx.Client, jobs: list[str]) -> bool:
    return not {status_of(http, job) for job in jobs} & {"queued", "running"}


def scale(bundle: Path, clients: int) -> dict[str, Any]:
    """From one replica to two while rows wait, and back."""
    deploy(
        bundle,
        min_replicas=1,
        max_replicas=2,
        rows_per_replica=24,
        upscale_seconds=2,
        downscale_seconds=10,
        look_back_seconds=10.5,
    )
    with loading(1) as alone:
        time.sleep(15)
        stayed = replicas().get("RUNNING") == 1
    with loading(clients) as load:
        up = wait_for(lambda: replicas().get("RUNNING") == 2, 120)
        time.sleep(10)
    down = wait_for(lambda: replicas() == {"RUNNING": 1}, 180)
    return {
        "one_client": {**alone.summary(), "one_replica_stayed_one": stayed},
        "clients": clients,
        **load.summary(),
        "two_replicas_after_seconds": up,
        "one_replica_after_seconds": down,
    }


def update(bundle: Path, clients: int, jobs: int, retries: int, number: int) -> dict[str, Any]:
    """New arguments for two replicas, one of which is replaced after the other."""
    deploy(bundle, min_replicas=2, max_replicas=2, max_images=number)
    with loading(clients, retries) as load, httpx.Client(base_url=ADDRESS, timeout=120) as http:
        time.sleep(3)
        accepted = submit(http, jobs)
        old = set(processes())
        began = time.monotonic()
        deploy(bundle, min_replicas=2, max_replicas=2, max_images=number + 1)
        wait_for(lambda: replicas() == {"RUNNING": 2} and not old & set(processes()), 120)
        seconds = round(time.monotonic() - began, 2)
        time.sleep(3)
        ended = collections.Counter(status_of(http, job) for job in accepted)
    return {
        **load.summary(),
        "update_seconds": seconds,
        "replicas_that_stayed": len(old & set(processes())),
        "jobs": dict(ended),
    }


def deploy(bundle: Path, **arguments: Any) -> None:
    """Returns when the replicas are there."""
    given = Arguments(
        bundles=[str(bundle.resolve())], cpus=1, insecure=True, grace_seconds=20, **arguments
    )
    serve.run(app(given), name=NAME, route_prefix="/")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path, nargs="?", default=Path("bundles/scenes"))
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    os.environ.setdefault("RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S", "1")
    os.environ.setdefault("RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S", "1")
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    ray.init(
        num_cpus=max(2, available_cores()),
        object_store_memory=100 * 2**20,
        include_dashboard=False,
        log_to_driver=False,
    )
    serve.start(http_options={"host": "127.0.0.1", "port": PORT})
    results: dict[str, Any] = {"clients": given.clients, "ray": ray.__version__}
    measures: dict[str, Callable[[], dict[str, Any]]] = {
        "killed": lambda: kill(given.bundle, given.clients, given.jobs, given.kills),
        "scaled": lambda: scale(given.bundle, given.clients),
        "updated_without_retries": lambda: update(given.bundle, given.clients, given.jobs, 0, 2),
        "updated": lambda: update(given.bundle, given.clients, given.jobs, 2, 4),
    }
    for name, measure in measures.items():
        results[name] = measure()
        print(name, results[name], flush=True)
    serve.shutdown()
    ray.shutdown()
    write_results(given.output, results)


if __name__ == "__main__":
    main()
