"""The ``fgdm export`` command."""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path

from fgdm.arguments import picture_size

from .defaults import SAMPLERS, TOLERANCE, ConditionDefaults, FactorDefaults, ImageDefaults
from .errors import ExportError
from .palettes import BUILT_IN

EPILOG = """\
examples:
  fgdm export --base runs/scenes --adapter segmentation=runs/scenes/adapter \\
      --controlnet runs/scenes/controlnet --palette runs/scenes/palette.json \\
      --output bundles/scenes

  fgdm export --base fgdm-seg.ckpt --adapter segmentation=fgdm-seg.ckpt --palette coco-stuff \\
      --controlnet lllyasviel/sd-controlnet-seg --hint-palette ade20k --image-size 512x512 \\
      --lora style.safetensors:0.8 --precision fp16 --output bundles/fgdm

  fgdm export --base sd15 --adapter segmentation=adapter --palette coco-stuff \\
      --controlnet segnet:0.7 --controlnet depth=depthnet:0.5 --t2i-adapter sketch=sketch.pth \\
      --output bundles/sd15        (requests bring the depth map and the sketch)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options on `parser`."""
    condition, image = ConditionDefaults(), ImageDefaults()
    parser.description = (
        "Make a bundle from a Stable Diffusion 1.x base, a condition adapter and a ControlNet. A "
        "SOURCE is a folder, a file (.safetensors, .ckpt, .pt, .pth, .bin), a Hugging Face id "
        "owner/name, or owner/name/file. Every graph is compared with PyTorch, and one picture of "
        "the engine with diffusers'; the bundle appears only when all of them agree."
    )
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    files = parser.add_argument_group("what goes in and out")
    files.add_argument(
        "--base",
        required=True,
        metavar="SOURCE",
        help="the text-to-image base: a diffusers folder or id, or an LDM checkpoint",
    )
    files.add_argument(
        "--adapter",
        type=_named_source,
        required=True,
        metavar="NAME=SOURCE",
        help="the condition factor's name and its adapter, e.g. segmentation=adapter",
    )
    files.add_argument(
        "--controlnet",
        action="append",
        default=[],
        type=_network,
        metavar="[CONDITION=]SOURCE[:SCALE]",
        help="a ControlNet of the image: a diffusers folder or id, or an original checkpoint; it "
        "paints from the factor's maps, or from a picture that requests bring; repeatable",
    )
    files.add_argument(
        "--t2i-adapter",
        action="append",
        default=[],
        type=_network,
        metavar="[CONDITION=]SOURCE[:SCALE]",
        help="the same for a T2I-Adapter",
    )
    files.add_argument(
        "--hint-palette",
        metavar="NAME|FILE",
        help="palette of the maps that the ControlNet was trained on (default: the maps' own)",
    )
    for part, example in (("vae", "autoencoder"), ("text-encoder", "CLIP text encoder")):
        files.add_argument(
            f"--{part}",
            metavar="SOURCE",
            help=f"{example} in place of the base's own, or for a base without one: a folder or id "
            "(its own or a pipeline's), or one file",
        )
    files.add_argument(
        "--tokenizer",
        metavar="SOURCE",
        help="folder or id of CLIP's tokenizer (default: the base's own; for a checkpoint, which "
        "has none, openai/clip-vit-large-patch14)",
    )
    files.add_argument(
        "--lora",
        action="append",
        default=[],
        type=_scaled_source,
        metavar="SOURCE[:SCALE]",
        help="a LoRA to merge into the base, with a weight (default: 1); repeatable",
    )
    files.add_argument(
        "--textual-inversion",
        action="append",
        default=[],
        type=_word_source,
        metavar="SOURCE[=TOKEN]",
        help="a learned word: diffusers' learned_embeds, or A1111's file; TOKEN is what prompts "
        "call it, if not what the file says; repeatable",
    )
    files.add_argument(
        "--tiny-decoder",
        metavar="SOURCE",
        help="a tiny decoder for previews: an AutoencoderTiny's folder or id, or TAESD's decoder",
    )
    files.add_argument(
        "--palette",
        required=True,
        metavar="NAME|FILE",
        help=f"{', '.join(BUILT_IN)}, or a JSON file with the classes",
    )
    files.add_argument("--output", type=Path, required=True, help="the bundle's folder")
    files.add_argument("--name", help="the bundle's name (default: the output's last part)")
    files.add_argument("--overwrite", action="store_true", help="replace an existing bundle")
    files.add_argument(
        "--weights",
        choices=("fp16", "fp32"),
        default="fp16",
        help="numbers on disk (default: %(default)s)",
    )
    files.add_argument(
        "--precision",
        choices=tuple(TOLERANCE),
        default="fp32",
        help="what the graphs compute in; fp16 is strongly typed, with normalisations and softmax "
        "in float32, and is checked for overflow (default: %(default)s)",
    )
    files.add_argument(
        "--keep-fp32",
        action="append",
        default=[],
        metavar="GRAPH/NODES",
        help="with fp16, nodes to keep in float32, e.g. 'vae_decoder/*'; may be repeated",
    )
    allowed = ", ".join(f"{value:g} in {precision}" for precision, value in TOLERANCE.items())
    files.add_argument(
        "--tolerance",
        type=float,
        help=f"largest error against PyTorch, relative to an output's scale (default: {allowed})",
    )
    files.add_argument(
        "--no-check",
        action="store_true",
        help="don't open the written bundle and compare a picture of it with diffusers'",
    )
    factors = parser.add_argument_group("what requests get by default")
    factors.add_argument(
        "--image-size",
        type=picture_size,
        metavar="HEIGHTxWIDTH",
        help="pixels; maps are half as high and wide (default: the autoencoder's own size)",
    )
    for flag, kind, default, text in (
        ("--condition-steps", int, condition.num_inference_steps, "steps of a map"),
        ("--condition-guidance-scale", float, condition.guidance_scale, "guidance of a map"),
        ("--stop-at-recall", float, condition.stop_at_recall, "of a map that has won; 0: none has"),
        ("--min-area", float, condition.min_area, "of a map, for a class to count as found"),
        ("--condition-prompt-prefix", str, condition.prompt_prefix, "put before a map's prompt"),
        ("--condition-prompt-suffix", str, condition.prompt_suffix, "added to a map's prompt"),
        ("--steps", int, image.num_inference_steps, "steps of the image"),
        ("--guidance-scale", float, image.guidance_scale, "classifier-free guidance of the image"),
        (
            "--segfree-guidance-scale",
            float,
            image.segfree_guidance_scale,
            "segmentation-free guidance of the image",
        ),
        ("--segfree-scale", float, image.segfree_scale, "weight of the strongest token, negated"),
        ("--segfree-start", float, image.segfree_start, "share of the steps before it sets in"),
        ("--prompt-suffix", str, image.prompt_suffix, "added to the image's prompt"),
    ):
        help_text = f"{text} (default: %(default)r)"
        factors.add_argument(flag, type=kind, default=default, help=help_text)
    for flag, choices, default, text in (
        ("--condition-sampler", SAMPLERS, condition.sampler, "sampler of a map"),
        ("--sampler", SAMPLERS, image.sampler, "sampler of the image"),
        ("--guidance", ("segfree", "cfg"), image.guidance, "guidance of the image's later steps"),
    ):
        help_text = f"{text} (default: %(default)s)"
        factors.add_argument(flag, choices=choices, default=default, help=help_text)


def run(args: argparse.Namespace) -> int:
    """Export as the options say. Returns the exit code: 0, or 1 for an error."""
    # PyTorch and diffusers take seconds to import, which --help need not wait for.
    from .bundle import export_bundle  # noqa: PLC0415
    from .image_networks import NetworkSource  # noqa: PLC0415
    from .sources import Lora, TextualInversion  # noqa: PLC0415

    name, adapter = args.adapter
    started = time.monotonic()
    try:
        output = export_bundle(
            args.base,
            {name: adapter},
            [NetworkSource(*entry) for entry in args.controlnet],
            args.palette,
            args.output,
            name=args.name or args.output.resolve().name,
            t2i_adapters=[NetworkSource(*entry) for entry in args.t2i_adapter],
            hint_palette=args.hint_palette,
            tokenizer=args.tokenizer,
            vae=args.vae,
            text_encoder=args.text_encoder,
            loras=[Lora(source, scale) for source, scale in args.lora],
            textual_inversions=[TextualInversion(*entry) for entry in args.textual_inversion],
            tiny_decoder=args.tiny_decoder,
            weights=args.weights,
            precision=args.precision,
            keep_fp32=args.keep_fp32,
            defaults=_defaults(args),
            tolerance=args.tolerance,
            overwrite=args.overwrite,
            check=not args.no_check,
            progress=_print_progress,
        )
    except ExportError as error:
        print(f"fgdm export: {error}", file=sys.stderr)
        return 1
    size = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    print(f"wrote {output}: {size / 1e6:.1f} MB in {time.monotonic() - started:.0f} s")
    return 0


def _defaults(args: argparse.Namespace) -> FactorDefaults:
    return FactorDefaults(
        image_size=args.image_size,
        condition=ConditionDefaults(
            num_inference_steps=args.condition_steps,
            sampler=args.condition_sampler,
            guidance_scale=args.condition_guidance_scale,
            stop_at_recall=args.stop_at_recall,
            min_area=args.min_area,
            prompt_prefix=args.condition_prompt_prefix,
            prompt_suffix=args.condition_prompt_suffix,
        ),
        image=ImageDefaults(
            num_inference_steps=args.steps,
            sampler=args.sampler,
            guidance=args.guidance,
            guidance_scale=args.guidance_scale,
            segfree_guidance_scale=args.segfree_guidance_scale,
            segfree_scale=args.segfree_scale,
            segfree_start=args.segfree_start,
            prompt_suffix=args.prompt_suffix,
        ),
    )


def _print_progress(what: str, done: int, total: int) -> None:
    print(f"[{done}/{total}] {what}", flush=True)


def _named_source(text: str) -> tuple[str, str]:
    name, separator, source = text.partition("=")
    if not (name and separator and source):
        raise argparse.ArgumentTypeError(f"{text!r} isn't NAME=SOURCE, e.g. segmentation=adapter")
    return name, source


def _network(text: str) -> tuple[str, str | None, float]:
    condition, separator, source = text.partition("=")
    if not separator or "/" in condition or Path(text).exists():
        condition, separator, source = "", "", text  # all of it; paths may have an equals sign
    source, scale = _scaled_source(source)
    if not source or (separator and not condition):
        raise argparse.ArgumentTypeError(
            f"{text!r} isn't [CONDITION=]SOURCE[:SCALE], e.g. depth=sd-controlnet-depth:0.5"
        )
    return source, condition or None, scale


def _word_source(text: str) -> tuple[str, str | None]:
    """A path may have an equals sign too, as ``runs/lr=1e-5/learned_embeds.bin``."""
    source, separator, token = text.rpartition("=")
    if not separator or "/" in token or Path(text).exists():
        return text, None
    if not source or not token.strip():
        raise argparse.ArgumentTypeError(
            f"{text!r} isn't SOURCE or SOURCE=TOKEN, e.g. learned_embeds.bin=<cat-toy>"
        )
    return source, token


def _scaled_source(text: str) -> tuple[str, float]:
    source, separator, number = text.rpartition(":")
    if not separator or "/" in number or "\\" in number:  # a path that happens to have a colon
        return text, 1.0
    try:
        scale = float(number)
    except ValueError:
        scale = math.nan
    if not source or not math.isfinite(scale):
        raise argparse.ArgumentTypeError(
            f"{text!r} isn't SOURCE or SOURCE:SCALE, e.g. style.safetensors:0.8"
        )
    return source, scale
