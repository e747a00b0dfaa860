"""The config file of docs/cluster.md on a cluster of this machine: two replicas."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import openai
import pytest
import yaml
from fgdm.errors import RequestError
from fgdm.serve.cli import add_arguments
from fgdm.serve.cluster.application import deployment_options
from fgdm.serve.cluster.arguments import Arguments
from fgdm.serve.cluster.replica import Replica
from fgdm.serve.cluster.scaling import rows_of
from pydantic import ValidationError
from ray.serve.config import AutoscalingConfig
from ray.serve.schema import ServeDeploySchema

from tests.cluster.conftest import QUICK, ROOT, SCENES

BODY = {"prompt": "two dogs beside a house", "seed": 1, **QUICK}


def documented() -> list[dict[str, Any]]:
    """The config files of docs/cluster.md: for ``serve run``, and KubeRay's."""
    text = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
    files = [
        yaml.safe_load(block)
        for block in re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        if not block.startswith(" ")
    ]
    plain, kubernetes = files
    return [plain, yaml.safe_load(kubernetes["spec"]["serveConfigV2"])]


def processes(parent: int) -> list[int]:
    """Replicas that descend from a process."""
    listed = subprocess.run(
        ["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    )
    rows = [line.split(None, 2) for line in listed.stdout.splitlines()]
    parents = {int(row[0]): int(row[1]) for row in rows}

    def descends(pid: int) -> bool:
        while pid and pid != parent:
            pid = parents.get(pid, 0)
        return bool(pid)

    titled = [int(row[0]) for row in rows if len(row) == 3 and "ServeReplica:" in row[2]]
    return [pid for pid in titled if descends(pid)]


@contextmanager
def cluster(folder: Path, ray_folder: str, config: dict[str, Any]) -> Iterator[tuple[int, str]]:
    """``serve run`` of a config file: its process, and its address.

    ray_folder: for Ray's sockets, whose paths must be short.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config["http_options"] = {"host": "127.0.0.1", "port": port}
    file = folder / "fgdm.yaml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    environment = {
        **os.environ,
        "RAY_ADDRESS": "local",  # not one that somebody else runs here
        "RAY_TMPDIR": ray_folder,
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES": str(100 * 2**20),
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONWARNINGS": "ignore",
    }
    with (
        (folder / "log").open("w+", encoding="utf-8") as log,
        subprocess.Popen(
            [sys.executable, "-m", "ray.serve.scripts", "run", str(file)],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
        ) as process,
    ):
        address = f"http://127.0.0.1:{port}"
        try:
            until = time.monotonic() + 180
            while not is_ready(address) or len(processes(process.pid)) < 2:
                assert process.poll() is None, (folder / "log").read_text(encoding="utf-8")
                assert time.monotonic() < until, (folder / "log").read_text(encoding="utf-8")
                time.sleep(0.2)
            yield process.pid, address
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(60)
            finally:
                process.kill()


def is_ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/ready").status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str]]:
    config, _ = documented()
    config["applications"][0]["args"] |= {
        "bundles": [f"scenes={SCENES}", f"other={SCENES}"],
        "api_key_file": None,
        "insecure": True,
        "backend": "cpu",
        "cpus": 0.5,
        "min_replicas": 2,
        "max_replicas": 2,
        "lease_seconds": 3,
    }
    with (
        tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as ray_folder,
        cluster(tmp_path_factory.mktemp("cluster"), ray_folder, config) as found,
    ):
        yield found


@pytest.fixture
def http(running: tuple[int, str]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running[1], timeout=120) as made:
        yield made


@pytest.fixture
def client(running: tuple[int, str]) -> Iterator[openai.OpenAI]:
    """The official client as it is: it tries twice again."""
    with openai.OpenAI(base_url=f"{running[1]}/v1", api_key="any", timeout=120) as made:
        yield made


def submit(http: httpx.Client, **options: Any) -> str:
    answer = http.post("/v1/jobs", json={**BODY, **options})
    assert answer.status_code == 202, answer.text
    name: str = answer.json()["id"]
    return name


def last_event(http: httpx.Client, job: str) -> str:
    text = http.get(f"/v1/jobs/{job}/events").text
    last: str = re.findall(r"^event: (.*)$", text, re.MULTILINE)[-1]
    return last


def test_streams_and_addresses(client: openai.OpenAI, http: httpx.Client) -> None:
    events = client.images.generate(
        prompt="a house", stream=True, partial_images=2, extra_body=QUICK
    )
    assert [event.type.partition(".")[2] for event in events] == ["partial_image"] * 2 + [
        "completed"
    ]
    answer = client.images.generate(
        prompt="a house", response_format="url", extra_body={"seed": 1, **QUICK}
    )
    assert answer.data is not None and answer.data[0].url is not None
    for _ in range(6):  # whichever replica is asked
        picture = http.get(answer.data[0].url)
        assert picture.content.startswith(b"\x89PNG")
        assert len(picture.headers.get_list("x-request-id")) == 1


def test_bundles_are_opened_when_they_are_asked_for(
    client: openai.OpenAI, http: httpx.Client
) -> None:
    assert {model.id for model in client.models.list()} == {"scenes", "other"}
    answer = client.images.generate(model="other", prompt="a house", extra_body=QUICK)
    assert answer.data is not None
    assert getattr(answer.data[0], "fgdm")["model"] == "other"  # noqa: B009
    with pytest.raises(openai.NotFoundError, match="expected one of scenes, other"):
        client.images.generate(model="third", prompt="a house")
    assert http.get("/v1/models/other").json()["owned_by"] == "fgdm"


def test_a_client_that_leaves_ends_its_request(http: httpx.Client) -> None:
    body = {**BODY, "num_inference_steps": 100, "stream": True, "partial_images": 3}
    with http.stream("POST", "/v1/images/generations", json=body) as stream:
        next(stream.iter_lines())
    until = time.monotonic() + 60
    while True:  # of whichever replica
        lines = http.get("/metrics").text.splitlines()
        cancelled = [line for line in lines if line.startswith("fgdm_engine_cancelled_total{")]
        if any(float(line.split()[-1]) > 0 for line in cancelled):
            break
        assert time.monotonic() < until, cancelled
        time.sleep(0.1)


def test_a_killed_replica_loses_nothing(
    running: tuple[int, str], client: openai.OpenAI, http: httpx.Client
) -> None:
    """The official client asks again by itself, and jobs are begun anew by who is left."""
    done = submit(http)
    assert last_event(http, done) == "job.done"
    jobs = [submit(http, seed=seed) for seed in range(4)]
    seeds: list[int] = []

    def ask(seed: int) -> None:
        answer = client.images.generate(
            prompt="two dogs", extra_body={**QUICK, "seed": seed, "num_inference_steps": 12}
        )
        assert answer.data is not None
        facts: Any = answer.data[0]
        seeds.append(facts.fgdm["seed"])

    def stream() -> None:
        """Its end is told, or it breaks off; it doesn't just stop."""
        body = {**BODY, "num_inference_steps": 12, "stream": True, "partial_images": 3}
        with contextlib.suppress(httpx.RemoteProtocolError, httpx.ReadError):
            answer = http.post("/v1/images/generations", json=body)
            if answer.status_code == 500:  # nothing of it had come yet
                streams.append("lost")
            else:
                streams.append(re.findall(r"^event: (.*)$", answer.text, re.MULTILINE)[-1])

    streams: list[str] = []
    asking = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    asking += [threading.Thread(target=stream) for _ in range(2)]
    for thread in asking:
        thread.start()
    time.sleep(1.0)
    os.kill(processes(running[0])[0], signal.SIGKILL)
    for thread in asking:
        thread.join(120)
    assert sorted(seeds) == list(range(4))
    assert set(streams) <= {"image_generation.completed", "lost"}
    for seed, job in enumerate(jobs):
        assert last_event(http, job) == "job.done"
        described = http.get(f"/v1/jobs/{job}").json()
        assert described["results"][0]["seed"] == seed
    for job in (done, *jobs):
        picture = http.get(f"/v1/jobs/{job}/images/0")
        assert picture.content.startswith(b"\x89PNG")


def test_a_replica_whose_engine_is_stuck_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    replica = Replica.__new__(Replica)
    service = SimpleNamespace(is_moving=lambda: True)
    monkeypatch.setattr(replica, "_service", service, raising=False)
    asyncio.run(replica.check_health())
    service.is_moving = lambda: False
    with pytest.raises(RuntimeError, match="makes no step"):
        asyncio.run(replica.check_health())


def test_the_documented_config_files() -> None:
    """Ray and the application take them as they stand."""
    for config in documented():
        (application,) = ServeDeploySchema.model_validate(config).applications
        assert application.import_path == "fgdm.serve.cluster:app"
        given = Arguments.model_validate(application.args)
        given.check()
        options = deployment_options(given)
        AutoscalingConfig.model_validate(options["autoscaling_config"])
        assert {deployment.name for deployment in application.deployments} <= {options["name"]}


def test_the_documented_rows_of_a_picture() -> None:
    assert "132 rows at most" in (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
    manifest = json.loads((SCENES / "manifest.json").read_text(encoding="utf-8"))
    assert rows_of(manifest, {}) == 132


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "api_key_file"),
        ({"insecure": True, "min_replicas": 3, "max_replicas": 2}, "max_replicas is 2"),
        ({"insecure": True, "bundles": ["a/scenes", "b/scenes"]}, "two bundles are called scenes"),
    ],
)
def test_arguments_that_do_not_go_together(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        Arguments.model_validate({"bundles": "scenes", **arguments}).check()


@pytest.mark.parametrize("wrong", [{"candidates": 3}, {"max_active": 0}, {"bundles": []}])
def test_arguments_that_do_not_exist(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Arguments.model_validate({"bundles": "scenes", **wrong})


def test_what_must_not_be_painted_is_told_to_every_engine() -> None:
    given = Arguments.model_validate({"bundles": "scenes", "forbid": "person,bus"})
    assert given.engine_options()["forbid"] == ["person", "bus"]
    entry = {"classes": ["person", "bus"], "min_area": 0.1}
    given = Arguments.model_validate({"bundles": "scenes", "forbid": [entry]})
    again = Arguments.model_validate(given.model_dump())  # as a replica gets it
    assert again.engine_options()["forbid"] == [entry]
    with pytest.raises(ValidationError, match="names no class"):
        Arguments.model_validate({"bundles": "scenes", "forbid": ""})


def test_what_fgdm_serve_can_be_told_a_cluster_can_be_told() -> None:
    """A safeguard that only one of them had would be missed in silence."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    told = {action.dest for action in parser._actions} - {"help", "host", "port"}
    names = {"alias": "aliases", "attention_op": "attention"}
    assert {names.get(name, name) for name in told} <= Arguments.model_fields.keys()


def test_segmenters_are_of_bundles() -> None:
    """One alone as a text, as ``serve run`` passes it on."""
    given = Arguments(bundles=["scenes"], segmenter="/models/a.onnx", insecure=True)  # type: ignore[arg-type]
    given.check()
    assert given.segmenters() == {"scenes": Path("/models/a.onnx")}
    with pytest.raises(RequestError, match="which isn't served"):
        Arguments(bundles=["scenes"], segmenter=["other=a.onnx"], insecure=True).check()


def test_keys_are_read_where_a_replica_starts(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("# ours\none\ntwo\n", encoding="utf-8")
    given = Arguments(bundles=["scenes"], api_key_file=str(tmp_path / "keys"), max_images=2)
    assert given.settings().api_keys == ("one", "two") and given.settings().max_images == 2
    with pytest.raises(RequestError, match="can't read the keys"):
        Arguments(bundles=["scenes"], api_key_file=str(tmp_path / "none")).settings()
