"""What every request passes: an id, a key, limits of size and number, a line in the log."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import re
import time
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import CLIENT_GONE, ApiError, too_many
from .settings import Settings

log = logging.getLogger("fgdm.serve")

#: For whoever watches the service; they tell nothing about requests.
_OPEN = {"/health", "/ready"}
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Guard:
    """ASGI around the application. is_draining: whether no new request is taken."""

    def __init__(self, app: ASGIApp, settings: Settings, is_draining: Callable[[], bool]) -> None:
        self._app, self._settings, self._is_draining = app, settings, is_draining
        self._at_work: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        answer = _Answer(send, request_id)
        began = time.monotonic()
        try:
            await self._pass(scope, headers, receive, answer)
        finally:
            status = answer.status or CLIENT_GONE
            log.info(
                json.dumps(
                    {
                        "id": request_id,
                        "method": scope["method"],
                        "path": scope["path"],
                        "status": status,
                        "seconds": round(time.monotonic() - began, 3),
                        "client": (scope.get("client") or [None])[0],
                        **scope["state"].get("log", {}),
                    }
                )
            )

    async def _pass(
        self, scope: Scope, headers: Headers, receive: Receive, answer: _Answer
    ) -> None:
        if scope["path"] in _OPEN:
            await self._app(scope, receive, answer)
            return
        begins_work = scope["method"] == "POST"
        try:
            who = scope["state"]["who"] = self._key(headers)
            self._check_length(headers)
            if begins_work and self._is_draining():
                raise ApiError(
                    503, "this service is ending; try another", code="draining", retry=True
                )
            if begins_work and self._at_work[who] >= self._settings.max_requests:
                raise too_many(self._at_work[who])
        except ApiError as error:
            await error.response()(scope, receive, answer)
            return
        self._at_work[who] += begins_work
        try:
            await self._app(scope, self._counted(receive), answer)
        finally:
            self._at_work[who] -= begins_work
            if not self._at_work[who]:
                del self._at_work[who]

    def _key(self, headers: Headers) -> str:
        """Of a key that the service has, something that stands for it."""
        if not self._settings.api_keys:
            return ""
        scheme, _, key = headers.get("authorization", "").partition(" ")
        given = key.strip().encode() if scheme.lower() == "bearer" else b""
        # Every key is compared, so that time tells nothing.
        fits = [hmac.compare_digest(given, known.encode()) for known in self._settings.api_keys]
        if not any(fits):
            raise ApiError(
                401,
                "no valid API key came; send it as `Authorization: Bearer KEY`",
                code="invalid_api_key",
                kind="authentication_error",
                headers={"www-authenticate": "Bearer"},
            )
        return hashlib.sha256(given).hexdigest()

    def _check_length(self, headers: Headers) -> None:
        length = headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length) > self._settings.max_body_bytes:
            raise self._too_large()

    def _too_large(self) -> ApiError:
        return ApiError(
            413,
            f"the body has more than {self._settings.max_body_bytes} bytes",
            code="body_too_large",
        )

    def _counted(self, receive: Receive) -> Receive:
        """For bodies that don't tell their length."""
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._settings.max_body_bytes:
                raise self._too_large()
            return message

        return counted


class _Answer:
    """Sends with the request's id, and remembers the status."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send, self._id = send, request_id
        self.status: int | None = None

    async def __call__(self, message: Message) -> Any:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)["x-request-id"] = self._id
        await self._send(message)
