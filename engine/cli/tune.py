"""``fgdm tune``: the cheapest settings of a bundle that keep its quality on the user's prompts."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fgdm.cli.arguments import load_function
from fgdm.cli.opening import add_machine_arguments, default_bundle, open_engine
from fgdm.errors import BundleError, Error, RequestError
from fgdm.file_tree import require_folder
from fgdm.progress import Progress

if TYPE_CHECKING:
    from fgdm.engine import Engine
    from fgdm.tuning.prompts import Prompt
    from fgdm.tuning.race import Judged
    from fgdm.tuning.search import Judge, Stage, Tuning

#: Judges of the bundle's own, by their names for --judge.
_JUDGES = ("segmenter", "psnr")
#: Version of the JSON that this prints.
SCHEMA = 1

EPILOG = """\
examples:
  fgdm tune bundles/scenes --prompts prompts.txt
  fgdm tune bundles/scenes --prompts prompts.json --every 10 --write
  fgdm tune bundles/scenes --judge my_detector:recall --json > tuning.json

Compares steps and timestep spacings of the maps and of the image, caches, and waves of maps with a
careful setting (20 steps or more, trailing, no cache). Of those whose loss, with 95 % confidence,
is within the bound it takes the one that took least time. docs/tuning.md has an example.
Ctrl-C leaves the bundle as it is. Let the machine be otherwise idle.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add = parser.add_argument
    add(
        "bundle",
        nargs="?",
        type=Path,
        help="folder, or without --write an archive; default: bundles/scenes, if it is here",
    )
    add(
        "--prompts",
        type=Path,
        metavar="FILE",
        help="one prompt a line, or .json: a list of texts or of {prompt, objects}; six or more; "
        "default: 16 made of the palette's classes",
    )
    add("--every", type=int, default=1, metavar="K", help="take every K-th prompt; default: 1")
    add("--candidates", type=int, default=5, metavar="N", help="maps of a prompt; default: 5")
    add(
        "--loss",
        type=float,
        default=0.02,
        metavar="RECALL",
        help="how far a recall may fall below the careful setting's; default: 0.02",
    )
    add(
        "--psnr",
        type=float,
        default=25.0,
        metavar="DB",
        help="how near pictures must be to the careful setting's, where there is no judge; "
        "default: 25",
    )
    add(
        "--judge",
        metavar="segmenter|psnr|MODULE:FUNCTION",
        help="what sees how much a picture holds: the bundle's segmenter; likeness to the careful "
        "setting's picture; or a function of a module that is installed or lies here, called with "
        "a PIL picture and the requested classes, which returns the recall, 0 to 1. Default: the "
        "segmenter, if the bundle has one",
    )
    add("--json", action="store_true", help="print the result as JSON on standard output")
    add("--quiet", action="store_true", help="no progress")
    add("--write", action="store_true", help="write what was chosen into the bundle's manifest")
    add_machine_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Measures, prints, and writes if that was asked for; the exit code."""
    _check(args)
    bundle = args.bundle or default_bundle()
    if args.write:
        require_folder(bundle, "fgdm tune --write")
    function = None if args.judge in (None, *_JUDGES) else load_judge(args.judge)
    given = None if args.prompts is None else _read_prompts(args.prompts)
    with open_engine(args, bundle) as engine:
        from fgdm.manifest import read_checked  # noqa: PLC0415 (the first output comes sooner)

        before = read_checked(bundle).decode("utf-8")
        if json.loads(before) != engine.manifest:
            raise BundleError(f"{bundle} has changed while it was opened; tune again")
        if args.write:
            from fgdm.tuning.defaults import check_writable  # noqa: PLC0415

            check_writable(bundle)
        prompts = _made_prompts(engine) if given is None else given
        judge = function or _own_judge(args.judge, engine)
        tuning = _search(args, engine, prompts[:: args.every], judge)
    refusal = _write(args, tuning, bundle, before)
    written = args.write and tuning.is_kept and refusal is None
    said = _report(tuning, bundle, written)
    if args.json:
        content = {
            "schema": SCHEMA,
            "bundle": str(bundle),
            "engine": engine.info.to_json(),
            "candidates": args.candidates,
            "written": written,
            **tuning.to_json(),
        }
        print(json.dumps(content, indent=2, allow_nan=False))
    print(*said, sep="\n", file=sys.stderr if args.json else sys.stdout)
    if refusal is not None:  # what was measured has been told
        raise refusal
    return 0 if written or not args.write else 1


def _write(args: argparse.Namespace, tuning: Tuning, bundle: Path, before: str) -> Error | None:
    """Writes what was chosen if it is to be written; what kept it from being."""
    if not (args.write and tuning.is_kept):
        return None
    from fgdm.tuning.defaults import write_defaults  # noqa: PLC0415

    try:
        write_defaults(bundle, before, tuning.fields)
    except Error as error:
        return error
    return None


def load_judge(name: str) -> Judge:
    """The judge that MODULE:FUNCTION names; see `load_function`."""
    judge: Judge = load_function("--judge", name)
    return judge


def _own_judge(name: str | None, engine: Engine) -> Judge | None:
    """What the bundle brings to judge pictures with; None for likeness to the careful picture."""
    if name == "psnr" or (name is None and not engine.has_segmenter):
        return None
    from fgdm.tuning.judge import SegmenterJudge  # noqa: PLC0415 (as above)

    return SegmenterJudge(engine)


def _check(args: argparse.Namespace) -> None:
    if args.every < 1:
        raise RequestError(f"--every is {args.every}, expected 1 or more")
    if not 0 <= args.loss <= 1:
        raise RequestError(f"--loss is {args.loss}, expected 0 to 1")
    if not 0 <= args.psnr <= 168:
        raise RequestError(f"--psnr is {args.psnr}, expected 0 to 168 dB")


def _read_prompts(file: Path) -> list[Prompt]:
    from fgdm.tuning.prompts import read_prompts  # noqa: PLC0415

    return read_prompts(file)


def _made_prompts(engine: Engine) -> list[Prompt]:
    from fgdm.tuning.prompts import made_prompts  # noqa: PLC0415

    return made_prompts(engine.classes)


def _search(
    args: argparse.Namespace, engine: Engine, prompts: list[Prompt], judge: Judge | None
) -> Tuning:
    from fgdm.tuning.search import Search  # noqa: PLC0415

    search = Search(
        engine,
        prompts,
        candidates=args.candidates,
        loss=args.loss,
        least_psnr=args.psnr,
        judge=judge,
    )
    if args.quiet:
        return search.run()
    with Progress() as progress:
        search.watch = progress.step
        return search.run()


def _report(tuning: Tuning, bundle: Path, written: bool) -> list[str]:
    prompts = tuning.prompts
    lines = [line for stage in tuning.stages for line in _table(stage)]
    lines += _table(tuning.together)
    lines += [f"seconds are {tuning.clock} time", *(f"note: {note}" for note in tuning.notes)]
    if any(_is_flat(stage) for stage in [*tuning.stages, tuning.together]):
        lines.append(
            f"note: where no prompt differed, {prompts} prompts can't exclude a loss on up to "
            f"{min(1.0, 3 / prompts):.0%} of all"
        )
    lines.append("defaults found:")
    for name, fields in tuning.fields.items():
        lines.append(f"  {name}: " + ", ".join(f"{key} {value}" for key, value in fields.items()))
    if written:
        return [*lines, f"wrote them to {bundle}/manifest.json"]
    if not tuning.is_kept:
        lines.append(
            "together they don't keep the bound with 95 % confidence, so they aren't written: give "
            "more prompts, or a wider --loss or --psnr"
        )
        return lines
    return [*lines, "not written into the manifest; --write does that"]


def _table(stage: Stage) -> list[str]:
    allowed = f"at least {stage.bound.value:g} dB"
    if stage.bound.kind == "loss":
        allowed = f"at most {stage.bound.value:g} below the first"
    lines = [
        f"{stage.name}: {stage.measure}; {allowed}",
        f"  {'':<36}{'prompts':>7}{'quality':>9}   {'compared (95 %)':<26}{'seconds':>8}"
        f"   {'of the first (95 %)':<20}",
    ]
    return [*lines, *(_line(stage, entry) for entry in stage.judged), ""]


def _line(stage: Stage, entry: Judged) -> str:
    row, quality, ratio = entry.row, entry.quality, entry.ratio
    mean = sum(row.qualities) / len(row.qualities)
    sign, digits = ("+", 3) if stage.bound.kind == "loss" else ("", 1)
    compared = (
        f"{quality.estimate:{sign}.{digits}f} "
        f"[{quality.low:{sign}.{digits}f}, {quality.high:{sign}.{digits}f}]"
    )
    taken = f"{ratio.estimate:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"
    mark = "*" if entry is stage.chosen else " "
    return (
        f"{mark} {row.setting.name:<36}{len(row.qualities):>7}{mean:>9.{digits}f}   {compared:<26}"
        f"{row.mean_seconds:>8.2f}   {taken:<20}{entry.verdict}"
    )


def _is_flat(stage: Stage) -> bool:
    """Whether what was chosen is as good as the careful setting on every prompt, so that the
    bootstrap has nothing to draw from."""
    quality = stage.chosen.quality
    is_careful = stage.chosen is stage.judged[0]
    return stage.bound.kind == "loss" and not is_careful and quality.low == quality.high == 0
