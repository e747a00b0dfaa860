"""``fgdm pack`` and ``fgdm unpack``: a bundle's folder as one file, and back."""

from __future__ import annotations

import argparse
from pathlib import Path

from fgdm.file_tree import SUFFIX
from fgdm.inspect import human_size
from fgdm.packing import pack, unpack

EPILOG = """\
examples:
  fgdm pack bundles/scenes                 (writes scenes.fgdm)
  fgdm pack bundles/scenes models/scenes-2.fgdm
  fgdm generate "a boat" --bundle scenes.fgdm
  unzip -l scenes.fgdm

The archive is a ZIP file whose members are stored, so that an engine uses them where they lie. The
same files make the same bytes. What writes into a bundle (build, tune --write, profile, export
--into) needs its folder: fgdm unpack gives that back.
"""

UNPACK_EPILOG = """\
example:
  fgdm unpack scenes.fgdm bundles/scenes
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``fgdm pack``."""
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder with a manifest.json")
    parser.add_argument(
        "archive",
        type=Path,
        nargs="?",
        metavar="ARCHIVE",
        help=f"file to write; default: the folder's name with {SUFFIX}, here",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an archive that is there")


def run(args: argparse.Namespace) -> int:
    """Packs, and says what came of it; the exit code."""
    archive = args.archive or Path(args.bundle.resolve().name + SUFFIX)
    size = pack(args.bundle, archive, overwrite=args.overwrite)
    print(f"wrote {archive}, {human_size(size)}")
    return 0


def add_unpack_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``fgdm unpack``."""
    parser.add_argument("archive", type=Path, metavar="ARCHIVE", help="file of fgdm pack")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="to make; empty, if it exists")


def run_unpack(args: argparse.Namespace) -> int:
    """Unpacks; the exit code."""
    unpack(args.archive, args.folder)
    print(f"wrote {args.folder}")
    return 0
