"""Which bundle a command opens, and on which runtime: the same for all that have an engine."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import fgdm
from fgdm.errors import BackendError, BundleError, RequestError

if TYPE_CHECKING:
    from fgdm.credentials import Credentials
    from fgdm.engine import Engine


def add_machine_arguments(parser: argparse.ArgumentParser) -> None:
    """Where and how the engine runs, for every command that opens one."""
    machine = parser.add_argument_group("machine")
    add = machine.add_argument
    backends = "auto (default), cpu, openvino, cuda, tensorrt, tensorrt-rtx or webgpu"
    add("--backend", default="auto", metavar="NAME", help=backends)
    add_runtime_arguments(add)
    add("--memory", default="full", metavar="NAME", help="full (default) or low (docs/memory.md)")
    attention = "auto (default), kernel (fgdm's own) or standard (docs/runtimes.md)"
    add("--attention-op", default="auto", metavar="NAME", help=attention)
    add(
        "--contexts",
        default="auto",
        metavar="WHERE",
        help="compiled contexts are kept in this folder, in the bundle, or off; auto (default): in "
        "the bundle, of tensorrt-rtx (docs/runtimes.md)",
    )
    add("--trace", default="", metavar="FILE", help="write a timeline for ui.perfetto.dev")


def add_runtime_arguments(add: Callable[..., object]) -> None:
    """By an ``add_argument``: how a runtime loads a bundle's graphs, and on what."""
    add("--device", type=int, default=0, metavar="N", help="which GPU; default: 0, the first")
    add("--precision", default="auto", metavar="NAME", help="auto (default), fp32, bf16 or fp16")
    add("--threads", type=int, default=0, metavar="N", help="of the runtime; default: it chooses")
    add("--library", default="", metavar="FILE", help="libonnxruntime; default: the wheel's")


def add_marking_arguments(parser: argparse.ArgumentParser) -> None:
    """What tells others that a picture was made, for every command that makes one."""
    add = parser.add_argument_group("what made the picture (docs/provenance.md)").add_argument
    add(
        "--watermark",
        default="",
        metavar="TEXT",
        help="put it into the picture, invisibly: 1 to 12 bytes; `fgdm watermark` reads it "
        "(pip install 'fgdm[watermark]')",
    )
    add_credentials_arguments(add)


def add_credentials_arguments(add: Callable[..., object]) -> None:
    """By an ``add_argument``: with which key pictures' files are signed."""
    add(
        "--credentials-key",
        type=Path,
        metavar="FILE",
        help="sign the picture's file with this private key, PEM (C2PA; pip install 'fgdm[c2pa]')",
    )
    add("--credentials-certificate", type=Path, metavar="FILE", help="its certificates, PEM")
    add(
        "--credentials-algorithm",
        default="es256",
        metavar="NAME",
        help="of the key: es256 (default), es384, es512, ps256, ps384, ps512 or ed25519",
    )


class _WithCredentials(Protocol):
    """A command's arguments, or a cluster's."""

    credentials_key: str | None
    credentials_certificate: str | None
    credentials_algorithm: str


def read_credentials(args: argparse.Namespace | _WithCredentials) -> Credentials | None:
    """Those that the arguments name, if they do. RequestError for one file without the other."""
    key, certificate = args.credentials_key, args.credentials_certificate
    if key is None and certificate is None:
        return None
    if key is None or certificate is None:
        raise RequestError(
            "a picture's credentials need both --credentials-key and --credentials-certificate"
        )
    from fgdm.credentials import Credentials  # noqa: PLC0415 (an extra's)

    return Credentials(key, certificate, args.credentials_algorithm)


def open_engine(args: argparse.Namespace, bundle: Path) -> Engine:
    """Loads the bundle. BackendError if the compiled core isn't there, or a package for what the
    arguments ask of pictures."""
    try:
        kind = fgdm.Engine
    except ImportError as error:
        raise BackendError(str(error)) from error
    return kind(bundle, **engine_options(args), watermark=getattr(args, "watermark", ""))


def engine_options(args: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments of ``fgdm.Engine`` that the machine arguments say."""
    names = ("backend", "device", "precision", "threads", "library", "memory", "contexts", "trace")
    given = {name: getattr(args, name) for name in names}
    return {**given, "attention": args.attention_op}  # an edit has an --attention of its own


def default_bundle() -> Path:
    """$FGDM_BUNDLE, or the bundle of the source folder that this runs from or in. BundleError."""
    from_environment = os.environ.get("FGDM_BUNDLE")
    if from_environment:
        return Path(from_environment)
    roots = [Path(__file__).resolve().parents[2]]
    with contextlib.suppress(OSError):  # the folder that this runs in may be gone
        roots.append(Path.cwd())
    for root in roots:
        if (root / "bundles/scenes/manifest.json").is_file():
            return root / "bundles/scenes"
    raise BundleError(
        "no bundle given and no bundles/scenes here; pass --bundle BUNDLE or set FGDM_BUNDLE"
    )
