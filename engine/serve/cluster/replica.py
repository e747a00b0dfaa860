"""What Ray runs as many of as there shall be: the service over engines of its own."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from typing import Any

import ray
from fastapi import FastAPI
from fgdm.cli.opening import read_credentials
from fgdm.serve.app import create_app
from fgdm.serve.log_lines import LogLine, to_standard_error
from fgdm.serve.reading import read_reader
from ray import serve
from ray.serve.metrics import Gauge
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .arguments import Arguments
from .board import SharedBoard
from .ledger import Ledger, Limits
from .models import BundlePool

NAMESPACE = "fgdm"


class Replica:
    """An ingress of Ray Serve. arguments: of `Arguments`."""

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        given = Arguments.model_validate(arguments)
        _log_requests()
        self._settings = given.settings()
        self._pool = BundlePool(
            given.folders(),
            given.aliases,
            given.models_per_replica,
            given.engine_options(),
            read_credentials(given),
            read_reader(given),
            given.segmenters(),
        )
        self.load = self._pool.load  # where Ray looks for it
        self._rows = Gauge("fgdm_unfinished_rows", "Backbone rows of unfinished requests, at most.")
        context = serve.get_replica_context()
        self._owner = context.replica_id.unique_id
        self._limits = Limits(
            self._settings.job_seconds,
            self._settings.most_jobs,
            self._settings.job_bytes,
            self._settings.url_seconds,
            self._settings.most_urls,
            self._settings.url_bytes,
            given.lease_seconds,
        )
        self._ledger = shared_ledger(context.app_name, self._limits)

    async def __serve_build_asgi_app__(self) -> FastAPI:
        """What Ray asks for once a replica is made; requests come when it is there."""
        await self._ledger.limit.remote(self._limits)
        await self._pool.open_first()
        board = functools.partial(
            SharedBoard,
            models=self._pool,
            settings=self._settings,
            ledger=self._ledger,
            owner=self._owner,
        )
        app = create_app(self._pool, self._settings, board, with_studio=False)
        app.add_middleware(_WithoutId)
        self._service = app.state.service
        return app

    async def check_health(self) -> None:
        """Ray replaces a replica of which this raises three times in a row."""
        if not self._service.is_moving():
            raise RuntimeError("an engine has work and makes no step")

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """What `QueuedRows` decides by: rows and requests that are not finished.

        Ray also exports the rows, as ``ray_fgdm_unfinished_rows``.
        """
        rows = float(self._pool.unfinished_rows())
        self._rows.set(rows)
        return {"rows": rows, "requests": float(self._pool.unfinished_requests())}


class _WithoutId:
    """ASGI: answers without the request's id, which Ray's proxy gives them too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def without(message: Message) -> None:
            if message["type"] == "http.response.start":
                del MutableHeaders(scope=message)["x-request-id"]
            await send(message)

        await self._app(scope, receive, without)


def shared_ledger(app: str, limits: Limits) -> Any:
    """The actor of an application's ledger; whoever asks first makes it. It outlives its replicas,
    and is made anew, empty, where its process ends."""
    return (
        ray.remote(Ledger)
        .options(
            name=f"ledger-{app}",
            namespace=NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            num_cpus=0,
            resources={"node:__internal_head__": 0.001},  # it isn't scaled down
            max_restarts=-1,
            max_task_retries=-1,
            max_concurrency=10_000,
        )
        .remote(limits)
    )


def _log_requests() -> None:
    """The log that ``fgdm serve`` writes."""
    log = logging.getLogger("fgdm")
    if not any(isinstance(handler.formatter, LogLine) for handler in log.handlers):
        log.addHandler(to_standard_error())
    log.setLevel(logging.INFO)
    log.propagate = False
