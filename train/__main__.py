"""``python -m fgdm.train scenes``: reproduce the bundled model's weights from nothing."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

try:
    import torch

    from .presets import PRESETS
    from .recipe import Recipe
except ModuleNotFoundError as error:
    sys.exit(
        f"python -m fgdm.train needs the package {error.name}; run: pip install 'fgdm[train]' "
        "(in a source folder: pip install '.[train]')"
    )

_EXAMPLES = """\
examples:
  python -m fgdm.train scenes --output runs/scenes                # two CPU cores: three hours
  python -m fgdm.train scenes --output runs/scenes --preset gpu   # one H100-class GPU
  python -m fgdm.train scenes --output runs/more --start bundles/scenes --seed 1
An interrupted run goes on where it stopped when the same command is given again.
"""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m fgdm.train",
        description="Train a small FG-DM on a procedural world, with the paper's recipe.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("world", choices=["scenes"], help="the world to train on")
    parser.add_argument("--output", type=Path, required=True, help="folder of the run")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="cpu")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--start", type=Path, help="begin with the autoencoder and base of this folder or bundle"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of what steps draw; another one to go on with --start"
    )
    parser.add_argument(
        "--no-ablation",
        action="store_true",
        help="skip the second adapter, trained without distillation",
    )
    options = parser.parse_args(arguments)
    recipe = Recipe(
        PRESETS[options.preset],
        options.output,
        torch.device(options.device),
        options.workers,
        options.start,
        options.seed,
    )
    try:
        recipe.run(ablation=not options.no_ablation)
    except KeyboardInterrupt:
        print("interrupted; the same command resumes", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
