"""The ``fgdm`` command: its sub-commands, and how errors become messages and exit codes."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from fgdm import (
    __version__,
    cli_generate,
    cli_profile,
    doctor,
    exits,
    inspect,
    streams,
    termination,
)
from fgdm.errors import CancelledError, Error, RequestError

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

_EPILOG = f"""\
examples:
  fgdm generate "two dogs beside a house under a tree"
  fgdm build bundles/scenes --target tensorrt-rtx --gpu sm_89
  fgdm inspect bundles/scenes --verify
  fgdm doctor

exit codes:
{exits.table()}

FGDM_DEBUG=1 shows the traceback of an error.
"""

_EXPORT_EPILOG = """\
example:
  fgdm export --help     (needs PyTorch: pip install 'fgdm[export]')
"""

_SERVE_EPILOG = """\
example:
  fgdm serve --help      (needs FastAPI: pip install 'fgdm[serve]')
"""

_BUILD_EPILOG = """\
example:
  fgdm build --help      (needs ONNX and a runtime: pip install 'fgdm[build]')
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; the exit code. Wrong usage leaves by SystemExit(2), as argparse does."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    streams.open_closed()
    streams.keep_printable()
    warnings.showwarning = _show_warning
    try:
        with termination.raised():
            code = _run(arguments)
            sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        streams.give_up_output()
        return exits.OUTPUT
    except (KeyboardInterrupt, CancelledError) as end:
        streams.say("terminated" if isinstance(end, termination.Terminated) else "cancelled")
        return exits.exit_code(end)
    except Exception as failure:
        error = streams.as_output_error(failure)
        if os.environ.get("FGDM_DEBUG", "") not in ("", "0"):
            traceback.print_exc()
        streams.say(f"error: {_message(error)}")
        code = exits.exit_code(error)
        if code == exits.OUTPUT:
            streams.give_up_output()
        return code


def _run(arguments: list[str]) -> int:
    try:
        args = build_parser(arguments).parse_args(arguments)
    except SystemExit:  # argparse has printed a help or a complaint
        sys.stdout.flush()
        raise
    code: int = args.run(args)
    return code


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    streams.say(f"warning: {message}")


class _Parser(argparse.ArgumentParser):
    """Raises OSError for a help that can't be written, of which argparse's own says nothing."""

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        if file is sys.stdout:
            file.write(message)
        else:
            super()._print_message(message, file)


def build_parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """The command's parser. Only of `fgdm export`, `build` and `serve` the command's own module is
    imported, which needs packages of an extra."""
    parser = _Parser(
        prog="fgdm",
        description="Prompt-compliant text-to-image diffusion: N cheap maps, the best one painted.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fgdm {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, summary: str, description: str, epilog: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=summary,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    generate = add(
        "generate",
        "paint an image that holds what the prompt asks for",
        "Samples N maps for a prompt, keeps the one with the best recall, paints it.",
        cli_generate.EPILOG,
    )
    export = add(
        "export",
        "turn trained weights into a bundle",
        "Turns a diffusers folder and an adapter into a bundle.",
        _EXPORT_EPILOG,
    )
    build = add(
        "build",
        "compile a bundle's graphs into TensorRT plans",
        "Compiles a bundle's graphs into plans for TensorRT or TensorRT-RTX.",
        _BUILD_EPILOG,
    )
    serve = add(
        "serve",
        "answer HTTP: OpenAI's image routes",
        "Answers HTTP: OpenAI's image routes, and jobs of its own.",
        _SERVE_EPILOG,
    )
    inspecting = add(
        "inspect",
        "show what a bundle holds",
        "Shows a bundle's factors, graphs, files and plans without loading a graph.",
        inspect.EPILOG,
    )
    profile = add(
        "profile",
        "measure how many rows a batch should have on this machine",
        "Times backbone batches by their rows and stores the times beside the bundle's plans; the "
        "engine then makes batches no larger than is worth waiting for.",
        cli_profile.EPILOG,
    )
    examine = add(
        "doctor",
        "show what this machine can do, and what is missing",
        "Looks for runtimes, processors, GPUs and compilers, and says what is missing for what. "
        "Exit code 0 if this machine can generate, else 1.",
        doctor.EPILOG,
    )
    for sub_parser, command in (
        (generate, cli_generate),
        (inspecting, inspect),
        (profile, cli_profile),
        (examine, doctor),
    ):
        command.add_arguments(sub_parser)
        sub_parser.set_defaults(run=command.run)
    for name, sub_parser, module in (
        ("export", export, "fgdm.export.cli"),
        ("build", build, "fgdm.export.plans.cli"),
        ("serve", serve, "fgdm.serve.cli"),
    ):
        if arguments and arguments[0] == name:
            _add_from(module, sub_parser, name)
    return parser


def _add_from(module: str, parser: argparse.ArgumentParser, extra: str) -> None:
    """Adds a command's arguments from a module that needs the extra of the command's name."""
    try:
        command = import_module(module)
    except ModuleNotFoundError as error:
        raise _missing_extra(error, extra) from error
    command.add_arguments(parser)

    def run(args: argparse.Namespace) -> int:
        try:
            return int(command.run(args) or 0)
        except ModuleNotFoundError as error:
            raise _missing_extra(error, extra) from error

    parser.set_defaults(run=run)


def _missing_extra(error: ModuleNotFoundError, extra: str) -> Exception:
    if error.name is None or error.name.split(".")[0] == "fgdm":
        return error
    return RequestError(
        f"fgdm {extra} needs the package {error.name}, which isn't installed; "
        f"run: pip install 'fgdm[{extra}]'"
    )


def _message(error: Exception) -> str:
    """An error in one printable line."""
    if isinstance(error, Error):
        text = str(error)
    elif isinstance(error, MemoryError):
        text = "memory ran out; ask for fewer candidates or a smaller image"
    else:
        text = f"internal error, {type(error).__name__}: {error} (FGDM_DEBUG=1 shows where)"
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
