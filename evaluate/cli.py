"""``fgdm evaluate``: its sub-commands."""

from __future__ import annotations

import argparse

from . import cli_prompts, cli_run

EPILOG = """\
examples:
  fgdm evaluate bundles/scenes --prompts prompts.txt
  fgdm evaluate run --help

docs/evaluate.md explains every figure.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The sub-commands and their arguments."""
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    run = commands.add_parser(
        "run",
        help="make pictures of a list of prompts under one or several settings, and measure them: "
        "what `fgdm evaluate BUNDLE` means",
        description="Makes every prompt's picture and maps under every setting and measures them. "
        "Goes on where it was stopped.",
        epilog=cli_run.EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    cli_run.add_arguments(run)
    run.set_defaults(evaluate=cli_run.run)
    prompts = commands.add_parser(
        "prompts",
        help="choose fewer prompts that stand for many",
        description="Chooses fewer prompts that stand for many.",
        epilog=cli_prompts.EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    cli_prompts.add_arguments(prompts)
    prompts.set_defaults(evaluate=cli_prompts.run)


def run(args: argparse.Namespace) -> int:
    """Runs the sub-command; the exit code."""
    code: int = args.evaluate(args)
    return code
