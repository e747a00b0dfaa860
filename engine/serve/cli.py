"""``fgdm serve``: opens bundles and answers HTTP until it is told to end."""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import logging
import math
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI
from fgdm.engine import Engine
from fgdm.errors import RequestError
from fgdm.files import read_regular

from .app import create_app
from .models import Models
from .settings import Settings

EPILOG = """\
example:
  fgdm serve bundles/scenes
  curl -s localhost:8000/v1/images/generations -H 'content-type: application/json' \\
      -d '{"prompt": "two dogs beside a house"}'
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Answers OpenAI's image routes, and jobs of its own, over HTTP (docs/serving.md)."
    )
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    defaults = Settings()
    parser.add_argument(
        "bundles",
        nargs="+",
        metavar="[NAME=]BUNDLE",
        help="bundles, each with the name that requests give as model (default: its folder's)",
    )
    net = parser.add_argument_group("where, and for whom")
    net.add_argument("--host", default="127.0.0.1", help="address (default: %(default)s)")
    net.add_argument("--port", type=int, default=8000, help="0 takes a free one (default: 8000)")
    net.add_argument(
        "--api-key-file", type=Path, metavar="FILE", help="keys of clients, one a line"
    )
    net.add_argument(
        "--insecure", action="store_true", help="other machines need no key (not recommended)"
    )
    limits = parser.add_argument_group("limits")
    for flag, name, kind, what in (
        ("--max-body-bytes", "max_body_bytes", int, "of a request's body"),
        ("--max-pixels", "max_pixels", int, "of a picture; default: each bundle's own size"),
        ("--max-images", "max_images", int, "n of one request"),
        ("--max-candidates", "max_candidates", int, "of one request"),
        ("--max-steps", "max_steps", int, "of maps, and of the picture"),
        ("--max-requests", "max_requests", int, "of one key at a time"),
        ("--deadline", "deadline", float, "seconds for a request; default: none"),
        ("--url-seconds", "url_seconds", float, "for which a picture's address holds"),
        ("--job-seconds", "job_seconds", float, "for which an ended job is kept"),
        ("--stalled-seconds", "stalled_seconds", float, "without a step, until /health says so"),
    ):
        value = getattr(defaults, name)
        limits.add_argument(
            flag,
            dest=name,
            type=kind,
            default=value,
            metavar="N",
            help=what if value is None else f"{what} (default: {value})",
        )
    more = parser.add_argument_group("more")
    more.add_argument(
        "--keep-running", action="store_true", help="a request goes on when its client has left"
    )
    more.add_argument("--log-prompts", action="store_true", help="prompts stand in the log")
    more.add_argument(
        "--grace-seconds",
        type=float,
        default=defaults.grace_seconds,
        metavar="N",
        help=f"for running requests after SIGTERM (default: {defaults.grace_seconds:g})",
    )
    engine = parser.add_argument_group("engines")
    engine.add_argument("--backend", default="auto", help="as of fgdm generate (default: auto)")
    engine.add_argument("--precision", default="auto", help="likewise (default: auto)")
    engine.add_argument(
        "--threads", type=int, default=0, metavar="N", help="default: the runtime's"
    )
    engine.add_argument("--max-queue", type=int, default=256, metavar="N", help="waiting requests")
    engine.add_argument("--max-active", type=int, default=16, metavar="N", help="worked on at once")
    engine.add_argument("--policy", default="latency", help="latency or throughput")


def run(args: argparse.Namespace) -> int:
    """Serves until SIGTERM or Ctrl-C, lets running requests end, and returns 0."""
    settings = _settings(args)
    _check_exposure(args.host, settings, args.insecure)
    logging.basicConfig(format="%(message)s", stream=sys.stderr, level=logging.INFO)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(_listen(args.host, args.port))
        engines = {}
        for name, folder in _named(args.bundles):
            engines[name] = stack.enter_context(
                Engine(
                    folder,
                    backend=args.backend,
                    precision=args.precision,
                    threads=args.threads,
                    max_queue=args.max_queue,
                    max_active=args.max_active,
                    policy=args.policy,
                )
            )
        app = create_app(Models(engines), settings)
        listener.listen()  # from here on who connects is answered a moment later
        host, port = listener.getsockname()[:2]
        address = f"[{host}]" if ":" in host else host
        print(f"fgdm serves {', '.join(engines)} at http://{address}:{port}", flush=True)
        _Server(app, settings.grace_seconds).run(sockets=[listener])
    return 0


class _Server(uvicorn.Server):
    """Ends with its running requests at the first SIGTERM or Ctrl-C, at once at the second."""

    def __init__(self, app: FastAPI, grace_seconds: float) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                timeout_graceful_shutdown=math.ceil(grace_seconds),
                server_header=False,
            )
        )
        self._service = app.state.service

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Unlike uvicorn's own, it doesn't raise the signal again once all has ended well."""
        before = {
            number: signal.signal(number, self.handle_exit)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._service.draining = True
        super().handle_exit(sig, frame)


def _settings(args: argparse.Namespace) -> Settings:
    names = vars(Settings()).keys() & vars(args).keys()
    given = {name: getattr(args, name) for name in names}
    for name, value in given.items():
        if isinstance(value, int | float) and not isinstance(value, bool) and not value > 0:
            raise RequestError(f"--{name.replace('_', '-')} is {value}; expected more than 0")
    return Settings(**given, api_keys=_read_keys(args.api_key_file))


def _read_keys(file: Path | None) -> tuple[str, ...]:
    if file is None:
        return ()
    try:
        lines = read_regular(file).decode("ascii").split("\n")
    except (OSError, ValueError) as error:
        raise RequestError(f"can't read the keys in {file}: {error}") from None
    keys = tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))
    if not keys:
        raise RequestError(f"{file} holds no key; expected one a line")
    return keys


def _check_exposure(host: str, settings: Settings, insecure: bool) -> None:
    try:
        is_local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_local = False
    if not is_local and not settings.api_keys and not insecure:
        raise RequestError(
            f"--host {host} lets other machines in; give the keys of those who may ask "
            "(--api-key-file), or --insecure"
        )


def _listen(host: str, port: int) -> socket.socket:
    """Before bundles are opened: an address that is taken is told at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise RequestError(
            f"can't listen at {host}, port {port}: {reason}; take another --port"
        ) from None
    return listener


def _named(bundles: list[str]) -> list[tuple[str, str]]:
    """Names and folders."""
    named: list[tuple[str, str]] = []
    for given in bundles:
        name, separator, folder = given.partition("=")
        if not separator or "/" in name:
            name, folder = Path(given).resolve().name, given
        if name in (other for other, _ in named):
            raise RequestError(
                f"two bundles are called {name}; give one another name: NAME={folder}"
            )
        named.append((name, folder))
    return named
