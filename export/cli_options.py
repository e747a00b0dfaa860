"""The options of ``fgdm export``."""

from __future__ import annotations

import argparse
from pathlib import Path

from fgdm.cli.arguments import names, picture_size
from fgdm.manifest import OUTPUTS

from . import cli_forms
from .defaults import SAMPLERS, SPACINGS, TOLERANCE, ConditionDefaults, ImageDefaults
from .palettes import BUILT_IN

#: Of a condition factor's defaults, the options that set them.
CONDITION_OPTIONS = {
    "num_inference_steps": "--condition-steps",
    "guidance_scale": "--condition-guidance-scale",
    "sampler": "--condition-sampler",
    "timestep_spacing": "--condition-timestep-spacing",
    "cache_interval": "--condition-cache-interval",
    "cache_level": "--condition-cache-level",
    "stop_at_recall": "--stop-at-recall",
    "wave": "--wave",
    "min_area": "--min-area",
    "prompt_prefix": "--condition-prompt-prefix",
    "prompt_suffix": "--condition-prompt-suffix",
}


def add_files(files: argparse._ArgumentGroup) -> None:
    """Sources, the factors they make, and the bundle."""
    files.add_argument(
        "--base",
        metavar="SOURCE",
        help="the text-to-image base: a diffusers folder or id, or an LDM checkpoint",
    )
    files.add_argument(
        "--adapter",
        action="append",
        default=[],
        type=cli_forms.adapter,
        metavar="NAME[:SEEN,...]=SOURCE",
        help="a condition factor's name and its adapter, e.g. segmentation=adapter; repeatable, in "
        "the chain's order; adapters of one factor are summed. SEEN are the factors whose latents "
        "the adapter sees, in its order (default: its own factor's, the noisy one); of the factor "
        "image, an adapter by which maps condition the image",
    )
    files.add_argument(
        "--backbone",
        action="append",
        dest="adapter",  # the order of both is the chain's
        type=cli_forms.backbone,
        metavar="NAME[:SEEN,...]=SOURCE",
        help="a factor's name and a backbone of its own, in place of the base's UNet and adapters: "
        "a UNet2DConditionModel's folder or id that sees the latents SEEN side by side, e.g. "
        "depth:segmentation,depth=unet",
    )
    files.add_argument(
        "--makes",
        action="append",
        default=[],
        type=cli_forms.output,
        metavar="NAME=OUTPUT",
        help=f"what a factor makes: {', '.join(OUTPUTS)}, or sketch:black for black lines on white "
        "(default: what it is called, else labels)",
    )
    files.add_argument(
        "--optional",
        type=names,
        default=[],
        metavar="NAME,NAME",
        help="condition factors that are left out unless a request names them",
    )
    files.add_argument(
        "--controlnet",
        action="append",
        default=[],
        type=cli_forms.network,
        metavar="[CONDITION=]SOURCE[:SCALE]",
        help="a ControlNet of the image: a diffusers folder or id, or an original checkpoint; it "
        "paints from a factor's maps, or from a picture that requests bring (default: from the "
        "maps of the only factor, or of that which is added); repeatable",
    )
    files.add_argument(
        "--t2i-adapter",
        action="append",
        default=[],
        type=cli_forms.network,
        metavar="[CONDITION=]SOURCE[:SCALE]",
        help="the same for a T2I-Adapter",
    )
    files.add_argument(
        "--palette",
        metavar="NAME|FILE",
        help=f"classes of the factors that make labels: {', '.join(BUILT_IN)}, or a JSON file",
    )
    files.add_argument(
        "--hint-palette",
        metavar="NAME|FILE",
        help="palette of the label maps that the ControlNet was trained on (default: their own)",
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
        type=cli_forms.scaled_source,
        metavar="SOURCE[:SCALE]",
        help="a LoRA to merge into the base, with a weight (default: 1); repeatable",
    )
    files.add_argument(
        "--runtime-lora",
        action="append",
        default=[],
        type=cli_forms.named_lora,
        metavar="NAME[:FACTOR,...]=SOURCE",
        help="a LoRA that requests weigh by its name (fgdm generate --lora NAME=SCALE); it changes "
        "these factors (default: the image); repeatable",
    )
    files.add_argument(
        "--textual-inversion",
        action="append",
        default=[],
        type=cli_forms.word_source,
        metavar="SOURCE[=TOKEN]",
        help="a learned word: diffusers' learned_embeds, or A1111's file; TOKEN is what prompts "
        "call it, if not what the file says; repeatable",
    )
    files.add_argument(
        "--tiny-decoder",
        metavar="SOURCE",
        help="a tiny decoder for previews: an AutoencoderTiny's folder or id, or TAESD's decoder",
    )
    files.add_argument("--output", type=Path, help="the new bundle's folder")
    files.add_argument(
        "--add-factor",
        metavar="NAME",
        help="put a factor before the image of the bundle --into, whose other files stay as they "
        "are; it takes that bundle's precision and type of weights",
    )
    files.add_argument(
        "--add-segmenter",
        type=Path,
        metavar="FILE",
        help="put an ONNX graph that reads a map from a picture into the bundle --into; it takes "
        "(1, 3, h, w) from -1 to 1, and makes scores (1, classes, h, w) of the palette's classes",
    )
    files.add_argument(
        "--into", type=Path, metavar="BUNDLE", help="with --add-factor or --add-segmenter"
    )
    files.add_argument("--name", help="the bundle's name (default: the output's last part)")
    files.add_argument("--overwrite", action="store_true", help="replace an existing bundle")
    files.add_argument(
        "--weights",
        choices=("fp16", "fp32"),
        help="numbers on disk (default: fp16)",
    )
    files.add_argument(
        "--attention-maps",
        action="store_true",
        help="backbones make maps of what their cross-attention looks at, too, for fgdm edit "
        "--attention",
    )
    files.add_argument(
        "--precision",
        choices=tuple(TOLERANCE),
        help="what the graphs compute in; fp16 is strongly typed, with normalisations and softmax "
        "in float32, and is checked for overflow (default: fp32)",
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


def add_defaults(factors: argparse._ArgumentGroup) -> None:
    """What the bundle's factors do where a request doesn't say."""
    condition, image = ConditionDefaults(), ImageDefaults()
    factors.add_argument(
        "--image-size",
        type=picture_size,
        metavar="HEIGHTxWIDTH",
        help="pixels (default: the autoencoder's own size)",
    )
    factors.add_argument(
        "--condition-size",
        action="append",
        default=[],
        type=cli_forms.of_factor(picture_size, "HEIGHTxWIDTH"),
        metavar="[NAME=]HEIGHTxWIDTH",
        help="pixels of a map (default: half as high and wide as the image). Options of maps are "
        "for all condition factors, or for the one called NAME; repeatable",
    )
    for name, kind, text in (
        ("num_inference_steps", int, "steps of a map"),
        ("guidance_scale", float, "guidance of a map"),
        ("sampler", str, f"sampler of a map: {', '.join(SAMPLERS)}"),
        ("timestep_spacing", str, f"a map's, {', '.join(SPACINGS)}; else the base's own"),
        ("cache_interval", int, "of so many steps of a map, one takes all levels of the backbone"),
        ("cache_level", int, "outer levels that the others take"),
        ("stop_at_recall", float, "of a label map that has won; 0: none has"),
        ("wave", int, "label maps that are sampled at a time until one has won; 0: all at once"),
        ("min_area", float, "of a label map, for a class to count as found"),
        ("prompt_prefix", str, "put before a map's prompt"),
        ("prompt_suffix", str, "added to a map's prompt"),
    ):
        factors.add_argument(
            CONDITION_OPTIONS[name],
            action="append",
            default=[],
            dest=f"condition_{name}",
            type=cli_forms.of_factor(kind, "a number"),
            metavar=f"[NAME=]{'TEXT' if kind is str else 'NUMBER'}",
            help=f"{text} (default: {getattr(condition, name)!r})",
        )
    for flag, kind, default, text in (
        ("--steps", int, image.num_inference_steps, "steps of the image"),
        (
            "--cache-interval",
            int,
            image.cache_interval,
            "of so many steps of the image, one takes all levels of the backbone",
        ),
        ("--cache-level", int, image.cache_level, "outer levels that the others take"),
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
    factors.add_argument(
        "--timestep-spacing",
        choices=SPACINGS,
        help="which timesteps the image visits (default: the base's own)",
    )
    for flag, choices, default, text in (
        ("--sampler", SAMPLERS, image.sampler, "sampler of the image"),
        ("--guidance", ("segfree", "cfg"), image.guidance, "guidance of the image's later steps"),
    ):
        help_text = f"{text} (default: %(default)s)"
        factors.add_argument(flag, choices=choices, default=default, help=help_text)
