"""Errors as OpenAI's clients know them: ``{"error": {message, type, param, code}}``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fgdm import errors
from fgdm.request import RequestOptions
from starlette.exceptions import HTTPException

#: What a client closed before it was answered; nobody reads it but the log.
CLIENT_GONE = 499


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
        super().__init__(status, message, {**(headers or {}), **more})
        self.message, self.code, self.param = message, code, param
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


def wrong(param: str, message: str) -> ApiError:
    """400 for a field."""
    return ApiError(400, message, code="invalid_value", param=param)


def too_many(at_work: int) -> ApiError:
    """429 for somebody who has as many requests at work as may be."""
    return ApiError(
        429,
        f"{at_work} requests of yours are at work, as many as may be; wait for one of them",
        code="too_many_requests",
        kind="rate_limit_error",
        headers={"retry-after": "1"},
    )


def of_engine(error: errors.Error) -> ApiError:
    """What an engine's error is over HTTP. A wrong option's message begins with its name."""
    text = str(error)
    if isinstance(error, errors.RequestError):
        first = text.partition(" ")[0]
        param = first if first in RequestOptions.__annotations__ else None
        return ApiError(400, text, code="invalid_value", param=param)
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


async def answer_api_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ApiError)
    return error.response()


async def answer_engine_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, errors.Error)
    return of_engine(error).response()


async def answer_http_error(_: Request, error: Exception) -> JSONResponse:
    """Of routing: no such path, no such method."""
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
    made = ApiError(error.status_code, str(error.detail), code=code, headers=error.headers)
    return made.response()


async def answer_invalid(_: Request, error: Exception) -> JSONResponse:
    """Of a body that has not the form; the first field that is wrong."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return ApiError(400, "the body isn't JSON", code="invalid_json").response()
    param = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))
    message = f"{param}: {first['msg']}" if param else str(first["msg"])
    return ApiError(400, message, code="invalid_value", param=param or None).response()


async def answer_internal(_: Request, error: Exception) -> JSONResponse:
    made = ApiError(500, f"internal error, {type(error).__name__}", code="internal", retry=False)
    return made.response()
