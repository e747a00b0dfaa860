"""``fgdm studio``: the service on this machine, and its page in the browser."""

from __future__ import annotations

import argparse
import threading
import webbrowser

from . import cli

EPILOG = """\
examples:
  fgdm studio bundles/scenes
  fgdm studio bundles/scenes --no-browser --port 8080
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of ``fgdm serve``, but for a free port unless one is given."""
    cli.add_arguments(parser)
    parser.description = "Serves bundles on this machine and opens the studio (docs/studio.md)."
    parser.epilog = EPILOG
    parser.set_defaults(port=0)
    parser.add_argument("--no-browser", action="store_true", help="only print the address")


def run(args: argparse.Namespace) -> int:
    """As ``fgdm serve``."""
    return cli.run(args, None if args.no_browser else _open)


def _open(address: str) -> None:
    """On a thread of its own: some browsers' commands end with the browser."""
    threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
