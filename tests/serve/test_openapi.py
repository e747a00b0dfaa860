"""The OpenAPI document against what the service does: no request that it allows, or comes near to
one, is answered by an error of the server, or otherwise than the document says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import CheckFunction, not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
)

pytest.importorskip("fgdm._core", reason="the compiled core isn't built")

from fgdm.engine import Engine
from fgdm.serve.app import create_app
from fgdm.serve.models import Models
from fgdm.serve.settings import Settings

CHECKS: list[CheckFunction] = [
    not_a_server_error,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def app(tiny_bundle: Path) -> Iterator[Any]:
    with Engine(tiny_bundle, backend="cpu", threads=1) as engine:
        limits = Settings(max_candidates=2, max_steps=2, max_images=1, max_pixels=64 * 64)
        yield create_app(Models({"tiny": engine}), limits)


def test_any_request(app: Any) -> None:
    document: Any = schemathesis.openapi.from_asgi("/openapi.json", app)
    for found in document.get_all_operations():
        operation = found.ok()
        if "/events" in operation.path:
            continue  # a stream ends with its job

        @settings(
            max_examples=15,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
            database=None,
        )
        @given(case=operation.as_strategy())
        def check(case: Any) -> None:
            case.call_and_validate(checks=CHECKS)

        check()
