"""``fgdm profile``: how long backbone batches take on this machine, by their rows."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from fgdm.cli.arguments import picture_size, whole_numbers
from fgdm.cli.opening import add_machine_arguments, default_bundle, open_engine
from fgdm.errors import BundleError, RequestError
from fgdm.file_tree import require_folder
from fgdm.files import OutputFolder, alone, read_regular

EPILOG = """\
example:
  fgdm profile bundles/scenes --rows 1,2,4,8,16,20
  fgdm profile bundles/scenes --image-size 128x128 --image-size 128x192

Writes BUNDLE/plans/profile.json: one entry for each backend, precision, runtime, number of threads
and processor. The engine reads the one that fits. Let the machine be otherwise idle.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add = parser.add_argument
    add(
        "bundle",
        nargs="?",
        type=Path,
        help="folder, or with --json an archive; default: bundles/scenes, if it is here",
    )
    add(
        "--rows",
        type=whole_numbers,
        default=[1, 2, 4, 8, 16, 20, 32],
        metavar="N,N",
        help="of the batches to measure; default: 1,2,4,8,16,20,32",
    )
    add(
        "--image-size",
        type=picture_size,
        action="append",
        metavar="HEIGHTxWIDTH",
        help="of images, in pixels; may be repeated; default: the bundle's",
    )
    add("--repeats", type=int, default=5, metavar="N", help="calls of each; default: 5")
    add("--json", action="store_true", help="print the profile as JSON and write nothing")
    add_machine_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Measures, prints a table, and stores it; the exit code."""
    bundle = args.bundle or default_bundle()
    if args.json:
        print(json.dumps(_measure(args, bundle), indent=2))
        return 0
    require_folder(bundle, "fgdm profile without --json")
    with OutputFolder(bundle / "plans", ["profile.json"]) as plans:
        profile = _measure(args, bundle)
        with alone(bundle / "plans"):  # each adds to what is stored
            text = json.dumps(_merged(bundle / "plans" / "profile.json", profile), indent=2) + "\n"
            (written,) = plans.write({"profile.json": text.encode("ascii")})
    ((key, sizes),) = profile["profiles"].items()
    print(key)
    for times in sizes:
        own = f" through {times['backbone']}" if "backbone" in times else ""
        print(f"latents {times['latent_height']}x{times['latent_width']}{own}")
        for rows, seconds in times["seconds"].items():
            each = 1000 * seconds / int(rows)
            print(f"  {rows:>3} rows  {1000 * seconds:8.1f} ms  {each:7.2f} ms a row")
    print(f"wrote {written}")
    return 0


def _measure(args: argparse.Namespace, bundle: Path) -> dict[str, Any]:
    with open_engine(args, bundle) as engine:
        return engine.profile(args.rows, args.repeats, args.image_size or [(None, None)])


def _merged(path: Path, profile: dict[str, Any]) -> dict[str, Any]:
    """The stored profiles, with the new one in place of its forerunner."""
    if not path.exists():
        return profile
    try:
        stored = json.loads(read_regular(path))
        if stored["schema"] != profile["schema"]:
            raise RequestError(
                f"{path} has schema {stored['schema']}, this version writes {profile['schema']}; "
                "delete it and measure again"
            )
        return {**stored, "profiles": {**stored["profiles"], **profile["profiles"]}}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"can't read {path}: {error}; delete it and measure again") from None
