"""``fgdm serve``: opens bundles and answers HTTP until it is told to end."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import ipaddress
import logging
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fgdm.cli.arguments import filters
from fgdm.cli.opening import add_credentials_arguments, read_credentials
from fgdm.engine import Engine
from fgdm.errors import RequestError
from fgdm.file_tree import SUFFIX
from fgdm.files import read_regular
from fgdm.serve.log_lines import to_standard_error

from .memory import check_memory
from .reading import read_reader
from .scoring import load_segmenter, named_segmenters
from .settings import Settings

#: What the server imports of fgdm[serve].
_PACKAGES = ("fastapi", "uvicorn", "prometheus_client", "python_multipart")

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
        help="bundles, each with the name that requests give as model (default: its file's)",
    )
    parser.add_argument(
        "--alias",
        action="append",
        default=[],
        metavar="ALIAS=NAME",
        help="another name of a bundle, such as dall-e-3=scenes; can be given again",
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
        ("--body-seconds", "body_seconds", float, "for a request's body to come"),
        ("--max-pixels", "max_pixels", int, "of a picture; default: each bundle's own size"),
        ("--max-images", "max_images", int, "n of one request"),
        ("--max-candidates", "max_candidates", int, "of one request"),
        ("--max-steps", "max_steps", int, "of maps, of the picture, and of an inversion"),
        (
            "--max-repaint",
            "max_repaint",
            int,
            "pictures after one that lacks something; 0: none",
        ),
        ("--max-edits", "max_edits", int, "edits by inversion of one request"),
        ("--max-requests", "max_requests", int, "of one key at a time"),
        ("--max-streams", "max_streams", int, "of jobs' events, of one key at a time"),
        ("--deadline", "deadline", float, "seconds for a request; default: none"),
        ("--url-seconds", "url_seconds", float, "for which a picture's address holds"),
        ("--most-urls", "most_urls", int, "pictures with an address"),
        ("--url-bytes", "url_bytes", int, "of pictures with an address, all together"),
        ("--job-seconds", "job_seconds", float, "for which an ended job is kept"),
        ("--most-jobs", "most_jobs", int, "ended jobs, and those at work"),
        ("--job-bytes", "job_bytes", int, "of ended jobs' pixels, all together"),
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
    engine.add_argument(
        "--forbid", type=filters, default=[], metavar="NAME,NAME", help="maps that aren't painted"
    )
    engine.add_argument("--watermark", default="", metavar="TEXT", help="in every picture")
    add_credentials_arguments(engine.add_argument)
    engine.add_argument(
        "--llm-base-url",
        metavar="URL",
        help="an OpenAI-compatible endpoint, which requests may have their prompts read by",
    )
    engine.add_argument("--llm-model", metavar="NAME", help="the model's name there")
    engine.add_argument(
        "--llm-timeout", type=float, default=30.0, metavar="N", help="seconds (default: 30)"
    )
    engine.add_argument(
        "--segmenter",
        action="append",
        default=[],
        metavar="[NAME=]FILE",
        help="ONNX, in place of a bundle's own segmenter: it looks at pictures that requests want "
        "painted again if they lack something (docs/compliance.md); can be given again",
    )
    engine.add_argument("--policy", default="latency", help="latency or throughput")
    engine.add_argument("--memory", default="full", help="full or low (docs/memory.md)")
    engine.add_argument("--attention-op", default="auto", help="as of fgdm generate")
    engine.add_argument(
        "--contexts", default="auto", metavar="WHERE", help="as of fgdm generate (default: auto)"
    )


def run(args: argparse.Namespace, listening: Callable[[str], object] | None = None) -> int:
    """Serves until SIGTERM or Ctrl-C, lets running requests end, and returns 0.

    listening: called with the service's address once it answers there.
    """
    settings = _settings(args)
    _check_exposure(args.host, settings, args.insecure)
    credentials, reader = read_credentials(args), read_reader(args)
    logging.basicConfig(handlers=[to_standard_error()], level=logging.INFO)
    for package in _PACKAGES:  # said before the engines are opened, not after
        if importlib.util.find_spec(package) is None:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(1) as beside:
        # FastAPI takes as long to import as a small bundle to open, which is done meanwhile.
        importing = beside.submit(importlib.import_module, "fgdm.serve.server")
        listener = stack.enter_context(_listen(args.host, args.port))
        bundles = named(args.bundles)
        names = [name for name, _ in bundles]
        aliases, segmenters = _aliases(args.alias, names), named_segmenters(args.segmenter, names)
        if args.memory == "full":  # else a bundle's graphs are loaded one factor's at a time
            check_memory([Path(folder) for _, folder in bundles])
        engines = {}
        for name, folder in bundles:
            engines[name] = stack.enter_context(
                Engine(
                    folder,
                    backend=args.backend,
                    precision=args.precision,
                    threads=args.threads,
                    max_queue=args.max_queue,
                    max_active=args.max_active,
                    policy=args.policy,
                    memory=args.memory,
                    attention=args.attention_op,
                    contexts=args.contexts,
                    forbid=args.forbid,
                    watermark=args.watermark,
                )
            )
        scorers = {
            name: load_segmenter(file, engines[name], args.threads)
            for name, file in segmenters.items()
        }
        module = importing.result()
        models = module.Models(engines, aliases, credentials, reader, scorers)
        server = module.Server(models, settings)
        listener.listen()  # from here on who connects is answered a moment later
        host, port = listener.getsockname()[:2]
        address = f"[{host}]" if ":" in host else host
        print(f"fgdm serves {', '.join(engines)} at http://{address}:{port}", flush=True)
        if listening is not None:
            listening(f"http://{address}:{port}/")
        server.run(sockets=[listener])
    return 0


def _settings(args: argparse.Namespace) -> Settings:
    names = vars(Settings()).keys() & vars(args).keys()
    given = {name: getattr(args, name) for name in names}
    for name, value in given.items():
        if not isinstance(value, int | float) or isinstance(value, bool):
            continue
        may_be_zero = name == "max_repaint"
        if not (value >= 0 if may_be_zero else value > 0):
            least = "0 or more" if may_be_zero else "more than 0"
            raise RequestError(f"--{name.replace('_', '-')} is {value}; expected {least}")
    return Settings(**given, api_keys=read_keys(args.api_key_file))


def read_keys(file: Path | None) -> tuple[str, ...]:
    """Of a file with a key a line, or none; raises RequestError for a file without one."""
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


def _aliases(given: list[str], names: list[str]) -> dict[str, str]:
    aliases: dict[str, str] = {}
    for entry in given:
        alias, separator, name = entry.partition("=")
        if not separator:
            raise RequestError(
                f"--alias {entry} names no bundle; expected ALIAS=NAME with one of "
                f"{', '.join(names)}, such as {entry or 'dall-e-3'}={names[0]}"
            )
        if alias in aliases:
            raise RequestError(
                f"--alias {alias} is given twice, for {aliases[alias]} and {name}; keep one"
            )
        aliases[alias] = name
    check_aliases(aliases, names)
    return aliases


def check_aliases(aliases: Mapping[str, str], names: list[str]) -> None:
    """Raises RequestError unless each is a new name of one of the bundles'."""
    for alias, name in aliases.items():
        if not alias.strip():
            raise RequestError(f"the alias for {name} is empty; expected a name, as dall-e-3")
        if alias in names:
            raise RequestError(
                f"the alias {alias} would hide the bundle of that name; take another"
            )
        if name not in names:
            raise RequestError(
                f"the alias {alias} is for {name or 'nothing'}, which isn't served; expected one "
                f"of {', '.join(names)}"
            )


def named(bundles: list[str]) -> list[tuple[str, str]]:
    """Names and folders of what is given as ``[NAME=]BUNDLE``."""
    found: list[tuple[str, str]] = []
    for given in bundles:
        name, separator, folder = given.partition("=")
        if not separator or "/" in name:
            name, folder = Path(given).resolve().name.removesuffix(SUFFIX), given
        if not name:
            raise RequestError(f"the bundle {given} has an empty name; expected [NAME=]BUNDLE")
        if name in (other for other, _ in found):
            raise RequestError(
                f"two bundles are called {name}; give one another name: NAME={folder}"
            )
        found.append((name, folder))
    return found
