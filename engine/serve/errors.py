"""Errors as OpenAI's clients know them: ``{"error": {message, type, param, code}}``."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fgdm import errors
from fgdm.request import RequestOptions
from starlette.exceptions import HTTPException

_Entry = TypeVar("_Entry")

#: What a client closed before it was answered; nobody reads it but the log.
CLIENT_GONE = 499

#: Characters of a message.
_MOST_WORDS = 1000


class ApiError(HTTPException):
    """An answer that is an error. (FastAPI lets an HTTPException pass while it reads a body.)

    param: the field that is wrong. retry: whether the same request may succeed a little later; the
    official clients try 408, 409, 429 and 5xx again unless they are told not to.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str,
        param: str | None = None,
        kind: str | None = None,
        retry: bool | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        more = {} if retry is None else {"x-should-retry": "true" if retry else "false"}
        super().__init__(status, _valid(message), {**(headers or {}), **more})
        # What a client sent may stand in them, however long, and need not be valid Unicode.
        self.message, self.param = _valid(message), None if param is None else _valid(param)
        self.code = code
        self.kind = kind or ("invalid_request_error" if status < 500 else "server_error")

    def content(self) -> dict[str, Any]:
        """The body."""
        return {
            "error": {
                "message": self.message,
                "type": self.kind,
                "param": self.param,
                "code": self.code,
            }
        }

    def response(self) -> JSONResponse:
        return JSONResponse(self.content(), self.status_code, self.headers)


def _valid(text: str) -> str:
    if len(text) > _MOST_WORDS:
        text = f"{text[:_MOST_WORDS]}…"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def wrong(param: str, message: str) -> ApiError:
    """400 for a field."""
    return ApiError(400, message, code="invalid_value", param=param)


def too_many(at_work: int, what: str = "requests") -> ApiError:
    """429 for somebody who has as many requests at work as may be."""
    return ApiError(
        429,
        f"{at_work} {what} of yours are at work, as many as may be; wait for one of them",
        code="too_many_requests",
        kind="rate_limit_error",
        headers={"retry-after": "1"},
    )


def too_slow(seconds: float) -> ApiError:
    """408 for a body that doesn't come."""
    return ApiError(
        408,
        f"the body wasn't there after {seconds:g} seconds; send it faster, or less",
        code="body_too_slow",
        headers={"connection": "close"},
    )


def no_more() -> ApiError:
    """503 for what a service that ends doesn't begin, or doesn't end in time."""
    return ApiError(503, "this service is ending; try another", code="draining", retry=True)


def of_engine(error: errors.Error) -> ApiError:
    """What an engine's error is over HTTP. A wrong option's message begins with its name."""
    text = str(error)
    if isinstance(error, errors.RequestError):
        return ApiError(400, text, code="invalid_value", param=_param_of(text))
    if isinstance(error, errors.QueueFullError):
        return ApiError(
            429,
            text,
            code="queue_full",
            kind="rate_limit_error",
            retry=True,
            headers={"retry-after": "1"},
        )
    if isinstance(error, errors.DeadlineError):
        return ApiError(504, text, code="deadline", retry=False)
    if isinstance(error, errors.CancelledError):
        return ApiError(CLIENT_GONE, text, code="cancelled", retry=False)
    if isinstance(error, errors.OutOfMemoryError):
        return ApiError(503, text, code="out_of_memory", retry=False)
    return ApiError(500, text, code="engine_error", retry=False)


def _param_of(text: str) -> str | None:
    """The field that an engine's message begins with."""
    first = re.split(r"[ .\[]", text, maxsplit=1)[0]
    if first in ("skip", "eta") or " of the inversion " in text[:60]:
        return "inversion"
    others = ("edits", "keep", "prompt", "repaint", "seam")
    known = first in RequestOptions.__annotations__ or first in others
    return first if known else None


def outcome_of(error: BaseException) -> str:
    """How a request that ended with it is counted: the code of its answer."""
    if isinstance(error, errors.Error):
        return of_engine(error).code
    return "cancelled" if isinstance(error, asyncio.CancelledError) else internal(error).code


def internal(error: BaseException) -> ApiError:
    """500 for what nobody foresaw."""
    return ApiError(500, f"internal error, {type(error).__name__}", code="internal", retry=False)


async def answer_api_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ApiError)
    return _told(request, error)


async def answer_engine_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, errors.Error)
    return _told(request, of_engine(error))


async def answer_http_error(request: Request, error: Exception) -> JSONResponse:
    """Of routing: no such path, no such method. Of bodies that can't be read."""
    assert isinstance(error, HTTPException)
    codes = {400: "invalid_body", 404: "not_found", 405: "method_not_allowed"}
    code = codes.get(error.status_code, "http_error")
    made = ApiError(error.status_code, str(error.detail), code=code, headers=error.headers)
    return _told(request, made)


async def answer_invalid(request: Request, error: Exception) -> JSONResponse:
    """Of a body that has not the form; the first field that is wrong."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return _told(request, ApiError(400, "the body isn't JSON", code="invalid_json"))
    if tuple(first["loc"]) == ("body",):
        message = "the body must be a JSON object, with content-type: application/json"
        return _told(request, ApiError(400, message, code="invalid_body"))
    param = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))
    message = f"{param}: {first['msg']}" if param else str(first["msg"])
    return _told(request, ApiError(400, message, code="invalid_value", param=param or None))


def _told(request: Request, error: ApiError) -> JSONResponse:
    """The answer; its code stays with the request, for whoever counts it."""
    request.state.code = error.code
    return error.response()


def nth(entries: Sequence[_Entry], index: int, what: str) -> _Entry:
    """Raises ApiError (404) for one that isn't there."""
    if not 0 <= index < len(entries):
        raise absent(index, len(entries), what)
    return entries[index]


def absent(index: int, count: int, what: str) -> ApiError:
    """404 for one of a list."""
    return ApiError(404, f"there is no {what} {index}; there are {count}", code="not_found")
