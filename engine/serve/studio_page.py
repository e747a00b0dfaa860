"""The studio's page: files of fgdm/studio, which ask nothing of any other host."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import PurePosixPath
from types import MappingProxyType

from fastapi import APIRouter
from fastapi.responses import Response

from .errors import ApiError

_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
#: As the page links one; the place in its group.
_STYLE_SHEET = re.compile(rb'<link rel="stylesheet" href="/studio/([^"]+)">')
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'{}; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "cache-control": "no-cache",
    "content-security-policy": _POLICY.format(""),
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def routes() -> APIRouter:
    """``/``, and what it loads. Not in the OpenAPI document: it's for people."""
    router = APIRouter(include_in_schema=False)
    files = _read_files()
    page, policy = _with_styles(files)

    @router.get("/")
    async def index() -> Response:
        return _answer("index.html", page, {"content-security-policy": policy})

    @router.get("/studio/{name:path}")
    async def file(name: str) -> Response:
        if name not in files:
            raise ApiError(404, f"the studio has no file {name!r:.80}", code="not_found")
        return _answer(name, files[name])

    return router


def _answer(
    name: str, content: bytes, headers: Mapping[str, str] = MappingProxyType({})
) -> Response:
    media_type = _MEDIA_TYPES[PurePosixPath(name).suffix]
    return Response(content, media_type=media_type, headers={**_HEADERS, **headers})


def _with_styles(files: Mapping[str, bytes]) -> tuple[bytes, str]:
    """The page with its style sheets in it, so that nothing is waited for until it is painted, and
    the policy that lets them in by their digests."""
    digests: list[str] = []

    def style(link: re.Match[bytes]) -> bytes:
        sheet = files[link[1].decode()]
        digests.append(base64.b64encode(hashlib.sha256(sheet).digest()).decode())
        return b"<style>" + sheet + b"</style>"

    page = _STYLE_SHEET.sub(style, files["index.html"])
    return page, _POLICY.format("".join(f" 'sha256-{digest}'" for digest in digests))


def _read_files() -> dict[str, bytes]:
    """All of them: together they are smaller than a picture."""
    folder = resources.files("fgdm") / "studio"
    return {
        f"{prefix}{entry.name}": entry.read_bytes()
        for prefix, place in (("", folder), ("edit/", folder / "edit"))
        for entry in place.iterdir()
        if PurePosixPath(entry.name).suffix in _MEDIA_TYPES
    }
