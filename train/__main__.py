"""``python -m fgdm.train``: reproduce the bundled model's weights from nothing, or add factors."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

try:
    import torch

    from .dual_encoder_recipe import DualEncoderRecipe
    from .factor_recipe import FactorRecipe
    from .presets import PRESETS
    from .recipe import Recipe
    from .truth import FACTOR_NAMES
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
  python -m fgdm.train decoder --output runs/factors --start bundles/scenes
  python -m fgdm.train factor depth normal --output runs/factors --start bundles/scenes
  python -m fgdm.train factor pose --output runs/pose --start bundles/scenes --go-on --seed 1
  python -m fgdm.train guided segmentation --output runs/guided --start bundles/scenes
  python -m fgdm.train controlnet --output runs/painter --start bundles/scenes --preset cpu-large
  python -m fgdm.train joint --output runs/joint --start bundles/scenes
  python -m fgdm.train dual-encoder --output runs/dual-encoder --tokenizer bundles/scenes/tokenizer
An interrupted run goes on where it stopped when the same command is given again.
"""


def main(arguments: list[str] | None = None) -> int:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--output", type=Path, required=True, help="folder of the run")
    common.add_argument("--preset", choices=sorted(PRESETS), default="cpu")
    common.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    common.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    common.add_argument(
        "--seed", type=int, default=0, help="of what steps draw; another one to go on with --start"
    )
    parser = argparse.ArgumentParser(
        prog="python -m fgdm.train",
        description="Train a small FG-DM on a procedural world, with the paper's recipe.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    scenes = commands.add_parser(
        "scenes", parents=[common], help="the segmentation factor, the image factor and their base"
    )
    scenes.add_argument(
        "--start", type=Path, help="begin with the autoencoder and base of this folder or bundle"
    )
    scenes.add_argument(
        "--no-ablation",
        action="store_true",
        help="skip the second adapter, trained without distillation",
    )
    decoder = commands.add_parser(
        "decoder", parents=[common], help="the autoencoder's decoder learns every kind of map"
    )
    factor = commands.add_parser(
        "factor", parents=[common], help="adapters of further factors over a frozen base"
    )
    factor.add_argument("kinds", nargs="+", choices=FACTOR_NAMES, help="trained one after another")
    factor.add_argument(
        "--sees",
        choices=FACTOR_NAMES,
        default="segmentation",
        help="whose map the adapters see, for chains of another order; of a factor itself, its own "
        "noisy latent (default: %(default)s)",
    )
    factor.add_argument(
        "--go-on", action="store_true", help="begin with the adapters of --start, not from nothing"
    )
    guided = commands.add_parser(
        "guided",
        parents=[common],
        help="adapters of --start learn guidance: one row a step in place of two",
    )
    guided.add_argument("kinds", nargs="+", choices=FACTOR_NAMES, help="taught one after another")
    guided.add_argument(
        "--scale", type=float, default=4.0, help="guidance scale that is learnt (default: 4)"
    )
    controlnet = commands.add_parser(
        "controlnet", parents=[common], help="the image factor goes on over a frozen base"
    )
    joint = commands.add_parser(
        "joint", parents=[common], help="segmentation and image factor, fine-tuned together"
    )
    for command in (factor, guided, controlnet):
        command.add_argument("--steps", type=int, help="of each stage (default: the preset's)")
    for command in (decoder, factor, guided, controlnet, joint):
        command.add_argument(
            "--start", type=Path, required=True, help="the run or bundle whose base stays as it is"
        )
    dual_encoder = commands.add_parser(
        "dual-encoder",
        parents=[common],
        help="a picture tower and a text tower, which say how well a picture fits its prompt",
    )
    dual_encoder.add_argument(
        "--tokenizer", type=Path, required=True, help="folder of CLIP's files, such as a bundle's"
    )
    options = parser.parse_args(arguments)
    try:
        _train(options)
    except KeyboardInterrupt:
        print("interrupted; the same command resumes", file=sys.stderr)
        return 130
    return 0


def _train(options: argparse.Namespace) -> None:
    preset, device = PRESETS[options.preset], torch.device(options.device)
    if options.command == "scenes":
        recipe = Recipe(
            preset, options.output, device, options.workers, options.start, options.seed
        )
        recipe.run(ablation=not options.no_ablation)
        return
    if options.command == "dual-encoder":
        DualEncoderRecipe(
            preset, options.output, options.tokenizer, device, options.workers, options.seed
        ).run()
        return
    if getattr(options, "steps", None) is not None:
        budgets = {
            name: replace(getattr(preset, name), steps=options.steps)
            for name in ("factor", "pose", "guided", "controlnet")
        }
        preset = replace(preset, **budgets)
    factors = FactorRecipe(
        preset, options.output, options.start, device, options.workers, options.seed
    )
    if options.command == "decoder":
        factors.decoder()
    elif options.command == "controlnet":
        factors.controlnet()
    elif options.command == "joint":
        factors.joint()
    elif options.command == "guided":
        for kind in options.kinds:
            factors.guided(kind, options.scale)
    else:
        for kind in options.kinds:
            factors.factor(kind, options.sees, options.go_on)


if __name__ == "__main__":
    sys.exit(main())
