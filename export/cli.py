"""The ``fgdm export`` command."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cli_forms import OwnBackbone
from .cli_options import CONDITION_OPTIONS, add_defaults, add_files
from .defaults import ConditionDefaults, FactorDefaults, ImageDefaults
from .errors import ExportError

if TYPE_CHECKING:
    from .factors import FactorSource

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

  fgdm export --base sd15 --palette coco-stuff --adapter segmentation=adapters/segmentation \\
      --adapter depth:segmentation,depth=adapters/depth --condition-steps depth=20 \\
      --controlnet segmentation=segnet --controlnet depth=depthnet --output bundles/both

  fgdm export --add-factor depth --adapter depth:segmentation,depth=adapters/depth \\
      --controlnet depth=depthnet --into bundles/sd15

  fgdm export --add-segmenter segmenter.onnx --into bundles/sd15

  fgdm export --base sd15 --palette coco-stuff --adapter segmentation=adapters/segmentation \\
      --backbone depth:segmentation,depth=unets/depth --controlnet depth=depthnet \\
      --output bundles/both

  fgdm export --base sd15 --controlnet canny=cannynet --output bundles/plain
      (no maps: the image is painted from the prompt and the request's picture)
"""

#: What only a new bundle has, by the names of its options.
_NEW = (
    *("base", "output", "name", "overwrite", "weights", "precision", "vae", "text_encoder"),
    *(
        "tokenizer",
        "lora",
        "runtime_lora",
        "textual_inversion",
        "tiny_decoder",
        "image_size",
        "attention_maps",
    ),
)


#: Of a factor that is added, or of its networks.
_OF_FACTORS = (
    *("add_factor", "adapter", "makes", "optional", "controlnet", "t2i_adapter", "palette"),
    *("hint_palette", "keep_fp32"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options on `parser`."""
    parser.description = (
        "Make a bundle from a Stable Diffusion 1.x base, condition factors' adapters and "
        "ControlNets, or add a factor to a bundle. A SOURCE is a folder, a file (.safetensors, "
        ".ckpt, .pt, .pth, .bin), a Hugging Face id owner/name, or owner/name/file. Every graph is "
        "compared with PyTorch, and one picture of the engine with diffusers'; the bundle appears "
        "only when all of them agree."
    )
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_files(parser.add_argument_group("what goes in and out"))
    add_defaults(parser.add_argument_group("what requests get by default"))


def run(args: argparse.Namespace) -> int:
    """Export as the options say. Returns the exit code: 0, or 1 for an error."""
    started = time.monotonic()
    try:
        if args.add_segmenter is not None:
            output = _add_segmenter(args)
        else:
            output = _export(args) if args.add_factor is None else _add(args)
    except ExportError as error:
        print(f"fgdm export: {error}", file=sys.stderr)
        return 1
    size = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    print(f"wrote {output}: {size / 1e6:.1f} MB in {time.monotonic() - started:.0f} s")
    return 0


def _export(args: argparse.Namespace) -> Path:
    # PyTorch and diffusers take seconds to import, which --help need not wait for.
    from .bundle import export_bundle  # noqa: PLC0415
    from .image_networks import NetworkSource  # noqa: PLC0415
    from .runtime_loras import RuntimeLora  # noqa: PLC0415
    from .sources import Lora, TextualInversion  # noqa: PLC0415

    if args.into is not None:
        raise ExportError(
            "--into is for --add-factor and --add-segmenter; a new bundle is called by --output"
        )
    if args.base is None or args.output is None:
        raise ExportError(
            "a new bundle needs a --base and an --output, and a factor for one that is there "
            "--add-factor and --into"
        )
    return export_bundle(
        args.base,
        _factors(args),
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
        runtime_loras=[
            RuntimeLora(name, source, factors) for name, factors, source in args.runtime_lora
        ],
        textual_inversions=[TextualInversion(*entry) for entry in args.textual_inversion],
        tiny_decoder=args.tiny_decoder,
        weights=args.weights or "fp16",
        precision=args.precision or "fp32",
        keep_fp32=args.keep_fp32,
        attention_maps=args.attention_maps,
        defaults=_defaults(args),
        tolerance=args.tolerance,
        overwrite=args.overwrite,
        check=not args.no_check,
        progress=_print_progress,
    )


def _add_segmenter(args: argparse.Namespace) -> Path:
    from .segmenter import add_segmenter  # noqa: PLC0415

    if args.into is None:
        raise ExportError("--add-segmenter needs --into, the bundle that gets it")
    given = [name for name in (*_NEW, *_OF_FACTORS) if getattr(args, name) not in (None, [], False)]
    if given:
        named = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ExportError(f"--add-segmenter changes nothing else of the bundle; leave out {named}")
    return add_segmenter(args.into, args.add_segmenter)


def _add(args: argparse.Namespace) -> Path:
    from .addition import add_factor  # noqa: PLC0415
    from .image_networks import NetworkSource  # noqa: PLC0415

    if args.into is None:
        raise ExportError("--add-factor needs --into, the bundle that gets the factor")
    given = [name for name in _NEW if getattr(args, name) not in (None, [], False)]
    if given or _defaults(args).image != ImageDefaults():
        named = ", ".join(f"--{name.replace('_', '-')}" for name in given) or "options of the image"
        raise ExportError(f"--add-factor changes nothing else of the bundle; leave out {named}")
    factors = _factors(args)
    if list(factors) != [args.add_factor]:
        raise ExportError(
            f"--add-factor {args.add_factor} needs its own adapter or backbone alone, such as "
            f"--adapter {args.add_factor}=SOURCE; got those of {', '.join(factors) or 'no factor'}"
        )
    factor = factors[args.add_factor]
    return add_factor(
        args.into,
        args.add_factor,
        replace(factor, defaults=factor.defaults or _condition_defaults(args)),
        [NetworkSource(*entry) for entry in args.controlnet],
        t2i_adapters=[NetworkSource(*entry) for entry in args.t2i_adapter],
        palette=args.palette,
        hint_palette=args.hint_palette,
        keep_fp32=args.keep_fp32,
        tolerance=args.tolerance,
        check=not args.no_check,
        progress=_print_progress,
    )


def _factors(args: argparse.Namespace) -> dict[str, FactorSource]:
    """The factors in the order in which their first adapters, or backbones, were given."""
    from .factors import IMAGE, AdapterSource, FactorSource  # noqa: PLC0415
    from .own_backbone import BackboneSource  # noqa: PLC0415

    adapters: dict[str, list[AdapterSource]] = {}
    backbones: dict[str, BackboneSource] = {}
    for entry in args.adapter:
        name, latents, source = entry
        given = adapters.setdefault(name, [])
        if not isinstance(entry, OwnBackbone):
            given.append(AdapterSource(source, latents))
        elif name in backbones:
            raise ExportError(f"factor {name} has two backbones; expected one")
        else:
            backbones[name] = BackboneSource(source, latents)
    made = {name: {"output": kind, "lines": lines} for name, kind, lines in args.makes}
    own: dict[str, dict[str, Any]] = {}
    for option in (*CONDITION_OPTIONS, "size"):
        for factor, value in getattr(args, f"condition_{option}"):
            if factor is not None:
                own.setdefault(factor, {})[option] = value
    for name in (*made, *own, *args.optional):
        if name not in adapters or name == IMAGE:
            raise ExportError(
                f"options speak of the factor {name!r}, which has no --adapter or --backbone; "
                "expected one of "
                f"{', '.join(known for known in adapters if known != IMAGE) or 'none'}"
            )
    shared = _condition_defaults(args)
    return {
        name: FactorSource(
            sources,
            **made.get(name, {}),
            defaults=replace(shared, **own[name]) if name in own else None,
            backbone=backbones.get(name),
            optional=name in args.optional,
        )
        for name, sources in adapters.items()
    }


def _condition_defaults(args: argparse.Namespace) -> ConditionDefaults:
    """What is said for all condition factors."""
    return ConditionDefaults(
        **{
            option: value
            for option in (*CONDITION_OPTIONS, "size")
            for factor, value in getattr(args, f"condition_{option}")
            if factor is None
        }
    )


def _defaults(args: argparse.Namespace) -> FactorDefaults:
    return FactorDefaults(
        image_size=args.image_size,
        condition=_condition_defaults(args),
        image=ImageDefaults(
            num_inference_steps=args.steps,
            sampler=args.sampler,
            timestep_spacing=args.timestep_spacing,
            cache_interval=args.cache_interval,
            cache_level=args.cache_level,
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
