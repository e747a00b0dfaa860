"""``fgdm watermark``: reads the invisible watermark of pictures."""

from __future__ import annotations

import argparse
import json
from importlib import import_module
from pathlib import Path
from typing import Any

from fgdm import exits
from fgdm.cli.arguments import picture_size

EPILOG = """\
examples:
  fgdm generate "a boat on the sea" --height 256 --width 256 --watermark "my service"
  fgdm watermark out/image.png
  fgdm watermark small.jpg --size 512x512    (it had this size when it was marked)

exit codes: 0 every picture has a watermark, 1 one has none (that can be read), 2 a file is no
picture, 4 blind-watermark is missing: pip install 'fgdm[watermark]'
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add = parser.add_argument
    add("files", nargs="+", metavar="FILE", help="pictures")
    add("--json", action="store_true", help="print {file: text or null} on standard output")
    add(
        "--size",
        type=picture_size,
        metavar="HEIGHTxWIDTH",
        help="that the picture had when it was marked, if it was resized since",
    )


def run(args: argparse.Namespace) -> int:
    """Prints what each picture says; the exit code."""
    from PIL import Image  # noqa: PLC0415 (as all of the next two, only where it is needed)

    read_picture = import_module("fgdm.picture_files").read_picture
    read_watermark = import_module("fgdm.watermark").read_watermark
    found: dict[str, str | None] = {}
    for file in args.files:
        picture: Any = read_picture("FILE", file)
        if not isinstance(picture, Image.Image):
            picture = Image.fromarray(picture)
        if args.size is not None:
            height, width = args.size
            picture = picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
        found[file] = read_watermark(picture)
    if args.json:
        print(json.dumps(found, indent=2))
    else:
        for file, text in found.items():
            print(f"{Path(file)}: {'no watermark' if text is None else text}")
    return 0 if None not in found.values() else exits.INTERNAL
