"""JSON bodies: what is read of them, and what is refused before others have to wait for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool

from .errors import ApiError, wrong

#: Entries of all lists and objects of a body; pictures in base64 are one each.
_MOST_VALUES = 100_000
#: Bytes that are read in a moment.
_SMALL = 2**16


class JsonRoute(APIRoute):
    """A route whose JSON is read by `read_json`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def with_json(request: Request) -> Response:
            return await handle(_JsonRequest(request.scope, request.receive))

        return with_json


class _JsonRequest(Request):
    async def json(self) -> Any:
        body = await self.body()
        if len(body) <= _SMALL:
            return read_json(body)
        return await run_in_threadpool(read_json, body)


def read_json(body: bytes) -> Any:
    """What a body says.

    Raises ApiError (400) for an object that has a field twice, for more values than any request
    has, which would hold up everybody, and for deeper ones than Python reads; JSONDecodeError for
    what isn't JSON.
    """
    # An upper bound, found without reading: also what stands in texts is counted.
    if sum(body.count(sign) for sign in (b",", b"[", b"{")) > _MOST_VALUES:
        raise ApiError(
            400, f"the body has more than {_MOST_VALUES} values", code="body_too_complex"
        )
    try:
        return json.loads(body, object_pairs_hook=_fields)
    except RecursionError:
        raise ApiError(
            400, "the body has lists or objects too deep in each other", code="body_too_complex"
        ) from None


def _fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        name = next(name for name in names if names.count(name) > 1)
        raise wrong(name[:60], f"{name:.60} comes twice; say it once")
    return fields
