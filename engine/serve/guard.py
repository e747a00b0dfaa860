"""What every request passes: an id, a key, limits of size and number, a line in the log."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import math
import re
import time
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import CLIENT_GONE, ApiError, internal, no_more, too_many, too_slow
from .settings import Settings

log = logging.getLogger("fgdm.serve")

#: For whoever watches the service; they tell nothing about requests.
_OPEN = {"/health", "/ready"}
#: Pictures' addresses, which nobody can guess: clients pass them on to browsers, which have no key.
_PICTURES = "/v1/images/"
#: The studio's page, which asks for a key itself.
_PAGE = re.compile(r"/(?:studio/.*)?")
#: Seconds between two looks whether to go on waiting for a body.
_LOOK_SECONDS = 1.0
#: Streams that last as long as their jobs.
_EVENTS = re.compile(r"/v1/(?:studio/)?jobs/[^/]+/events")
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


#: What asks for pictures, and their kind as a Task's.
_WORK = {
    "/v1/images/generations": "image_generation",
    "/v1/images/edits": "image_edit",
    "/v1/jobs": "image_generation",
    "/v1/studio/jobs": "image_generation",
}


class Guard:
    """ASGI around the application. is_draining: whether no new request is taken. refused: called
    with model ("" if it isn't known), kind and code of a request for pictures that wasn't accepted.

    What is answered to GET is answered to HEAD without its body.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        is_draining: Callable[[], bool],
        refused: Callable[[str, str, str], object],
    ) -> None:
        self._app, self._settings, self._is_draining = app, settings, is_draining
        self._refused = refused
        self._at_work: Counter[str] = Counter()
        self._streams: Counter[str] = Counter()
        self._others: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        request_id = given if _ID.fullmatch(given) else uuid.uuid4().hex
        # The server's own scope keeps HEAD, by which it knows that no body is sent.
        state = {**scope.get("state", {}), "request_id": request_id}
        inner = {**scope, "method": method, "state": state}
        answer = _Answer(send, request_id, without_body=scope["method"] == "HEAD")
        began = time.monotonic()
        try:
            await self._pass(inner, headers, receive, answer)
        except Exception as error:
            if answer.status is not None:
                raise  # it's too late for another answer
            state["code"] = internal(error).code
            await internal(error).response()(inner, receive, answer)
            log.exception("%s %s failed", scope["method"], scope["path"])
        finally:
            status = answer.status or CLIENT_GONE
            told = state.get("log", {})
            kind = _WORK.get(scope["path"]) if method == "POST" else None
            if kind and status >= 400 and not state.get("accepted"):
                outcome = state.get("code", "client_gone")
                self._refused(told.get("model", ""), kind, outcome)
            log.info(
                json.dumps(
                    {
                        "id": request_id,
                        "method": scope["method"],
                        "path": scope["path"],
                        "status": status,
                        "seconds": round(time.monotonic() - began, 3),
                        "client": (scope.get("client") or [None])[0],
                        **told,
                    }
                )
            )

    async def _pass(
        self, scope: Scope, headers: Headers, receive: Receive, answer: _Answer
    ) -> None:
        is_picture = scope["method"] == "GET" and scope["path"].startswith(_PICTURES)
        if scope["path"] in _OPEN or is_picture or _PAGE.fullmatch(scope["path"]):
            await self._app(scope, receive, answer)
            return
        begins_work = scope["method"] == "POST"
        counter, most, what = self._others, math.inf, ""
        if begins_work:
            counter, most, what = self._at_work, self._settings.max_requests, "requests"
        elif _EVENTS.fullmatch(scope["path"]):
            counter, most, what = self._streams, self._settings.max_streams, "streams of events"
        try:
            who = scope["state"]["who"] = self._key(headers)
            self._check_length(headers)
            if begins_work and self._is_draining():
                raise no_more()
            if counter[who] >= most:
                raise too_many(counter[who], what)
        except ApiError as error:
            scope["state"]["code"] = error.code
            await error.response()(scope, receive, answer)
            return
        counter[who] += 1
        try:
            await self._app(scope, self._limited(receive), answer)
        finally:
            counter[who] -= 1
            if not counter[who]:
                del counter[who]

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

    def _limited(self, receive: Receive) -> Receive:
        """For bodies that don't tell their length, and those that don't come."""
        size, is_coming = 0, True
        until = time.monotonic() + self._settings.body_seconds

        async def limited() -> Message:
            nonlocal size, is_coming
            if not is_coming:
                return await receive()
            message = await self._come(receive, until)
            size += len(message.get("body", b""))
            if size > self._settings.max_body_bytes:
                raise self._too_large()
            is_coming = message["type"] == "http.request" and message.get("more_body", False)
            return message

        return limited

    async def _come(self, receive: Receive, until: float) -> Message:
        """A body's next part. Raises ApiError: 408 when its time is over, 503 when the service
        ends, which doesn't wait for requests that are still to come."""
        coming = asyncio.ensure_future(receive())
        try:
            while True:
                left = until - time.monotonic()
                await asyncio.wait({coming}, timeout=max(0.0, min(left, _LOOK_SECONDS)))
                if coming.done():
                    return coming.result()
                if left <= 0:
                    raise too_slow(self._settings.body_seconds)
                if self._is_draining():
                    raise no_more()
        finally:
            coming.cancel()


class _Answer:
    """Sends with the request's id, and remembers the status. without_body: of HEAD; an endless
    answer ends with its head."""

    def __init__(self, send: Send, request_id: str, without_body: bool) -> None:
        self._send, self._id, self._without_body = send, request_id, without_body
        self._ended = False
        self.status: int | None = None

    async def __call__(self, message: Message) -> Any:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)["x-request-id"] = self._id
        elif self._without_body:
            if self._ended:
                return
            self._ended = True
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)
