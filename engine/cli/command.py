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
    exits,
    inspect,
    streams,
    termination,
)
from fgdm.cli import compile as compile_command
from fgdm.cli import doctor, edit, generate, pack, profile, tune, watermark
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

_STUDIO_EPILOG = """\
example:
  fgdm studio --help     (needs FastAPI: pip install 'fgdm[serve]')
"""

_DATASET_EPILOG = """\
example:
  fgdm dataset --help    (formats need packages: pip install 'fgdm[dataset]')
"""

_EVALUATE_EPILOG = """\
example:
  fgdm evaluate --help   (needs PyTorch and more: pip install 'fgdm[evaluate]')
"""

_EVALUATE_COMMANDS = (["run"], ["prompts"], ["--help"], ["-h"])

_BUILD_EPILOG = """\
example:
  fgdm build --help      (needs ONNX and a runtime: pip install 'fgdm[build]')
"""

_COMPARE_EPILOG = """\
example:
  fgdm compare --help    (needs PyTorch and Polygraphy: pip install 'fgdm[compare]')
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
    if arguments[:1] == ["evaluate"] and arguments[1:2] not in _EVALUATE_COMMANDS:
        arguments.insert(1, "run")  # what `fgdm evaluate BUNDLE` means
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
    """The command's parser. Of `fgdm export`, `build`, `compare`, `serve`, `studio`, `evaluate` and
    `dataset`, which need packages of an extra, only the command's own module is imported."""
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

    generate_parser = add(
        "generate",
        "paint an image that holds what the prompt asks for",
        "Samples N maps for a prompt, keeps the one with the best recall, paints it.",
        generate.EPILOG,
    )
    edit_parser = add(
        "edit",
        "change a picture or a map where words say",
        "Takes a picture or a map back into noise, and paints it again with edits (LEDITS++).",
        edit.EPILOG,
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
    compile_parser = add(
        "compile",
        "compile a bundle's graphs ahead of time for an execution provider",
        "Compiles a bundle's graphs for OpenVINO or TensorRT-RTX through ONNX Runtime, and keeps "
        "what comes of it beside them.",
        compile_command.EPILOG,
    )
    compare = add(
        "compare",
        "run a graph on two runtimes, and find where they part",
        "Runs a bundle's graph on two runtimes with the inputs of real prompts, and names the "
        "first layer whose values are too far apart.",
        _COMPARE_EPILOG,
    )
    serve = add(
        "serve",
        "answer HTTP: OpenAI's image routes",
        "Answers HTTP: OpenAI's image routes, and jobs of its own.",
        _SERVE_EPILOG,
    )
    studio = add(
        "studio",
        "edit maps and paint in the browser",
        "Serves a bundle on this machine and opens its page in the browser.",
        _STUDIO_EPILOG,
    )
    inspect_parser = add(
        "inspect",
        "show what a bundle holds",
        "Shows a bundle's factors, graphs, files and plans without loading a graph.",
        inspect.EPILOG,
    )
    pack_parser = add(
        "pack",
        "make a bundle one file",
        "Makes a bundle's folder one file, which engines open as it is.",
        pack.EPILOG,
    )
    unpack_parser = add(
        "unpack",
        "make the file a folder again",
        "Gives the folder back that fgdm pack made one file of.",
        pack.UNPACK_EPILOG,
    )
    profile_parser = add(
        "profile",
        "measure how many rows a batch should have on this machine",
        "Times backbone batches by their rows and stores the times beside the bundle's plans; the "
        "engine then makes batches no larger than is worth waiting for.",
        profile.EPILOG,
    )
    tune_parser = add(
        "tune",
        "find the cheapest settings that keep the quality",
        "Finds steps, timestep spacings, caches and waves for a bundle and prompts under a quality "
        "bound, and writes them to the manifest if asked to.",
        tune.EPILOG,
    )
    evaluate = add(
        "evaluate",
        "measure a bundle: the papers' tables",
        "Makes pictures and maps of a list of prompts, measures them, and compares settings.",
        _EVALUATE_EPILOG,
    )
    dataset = add(
        "dataset",
        "make labelled pictures: a data set from prompts",
        "Makes pictures with the maps of their factors from prompts, checked and resumable.",
        _DATASET_EPILOG,
    )
    watermark_parser = add(
        "watermark",
        "read the invisible watermark of pictures",
        "Reads the invisible watermark that --watermark put into pictures.",
        watermark.EPILOG,
    )
    doctor_parser = add(
        "doctor",
        "show what this machine can do, and what is missing",
        "Looks for runtimes, processors, GPUs and compilers, and says what is missing for what. "
        "Exit code 0 if this machine can generate, else 1.",
        doctor.EPILOG,
    )
    for sub_parser, command in (
        (generate_parser, generate),
        (edit_parser, edit),
        (inspect_parser, inspect),
        (pack_parser, pack),
        (profile_parser, profile),
        (compile_parser, compile_command),
        (tune_parser, tune),
        (watermark_parser, watermark),
        (doctor_parser, doctor),
    ):
        command.add_arguments(sub_parser)
        sub_parser.set_defaults(run=command.run)
    pack.add_unpack_arguments(unpack_parser)
    unpack_parser.set_defaults(run=pack.run_unpack)
    for name, sub_parser, module, extra in (
        ("export", export, "fgdm.export.cli", "export"),
        ("build", build, "fgdm.export.plans.cli", "build"),
        ("compare", compare, "fgdm.export.compare.cli", "compare"),
        ("serve", serve, "fgdm.serve.cli", "serve"),
        ("studio", studio, "fgdm.serve.studio_cli", "serve"),
        ("evaluate", evaluate, "fgdm.evaluate.cli", "evaluate"),
        ("dataset", dataset, "fgdm.evaluate.dataset.cli", "dataset"),
    ):
        if arguments and arguments[0] == name:
            _add_from(module, sub_parser, extra)
    return parser


def _add_from(module: str, parser: argparse.ArgumentParser, extra: str) -> None:
    """Adds a command's arguments from a module that needs the packages of an extra."""
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
        f"this command needs the package {error.name}, which isn't installed; "
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
