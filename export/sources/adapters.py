"""Adapters: a condition factor's own, original FG-DM checkpoints, and public T2I-Adapters."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from diffusers import T2IAdapter
from torch import Tensor

from ..adapter import ConditionAdapter, PlainAdapter, TimestepAdapter
from ..errors import ExportError
from .assemble import empty, fill
from .checkpoints import ADAPTER, UNET
from .families import refuse
from .folders import load_folder
from .places import LONE_MODEL, Source, locate
from .tensors import read_json, read_tensors

_KINDS = {kind.__name__: kind for kind in (TimestepAdapter, PlainAdapter, T2IAdapter)}
#: What may stand before a key, longest first.
_PREFIXES = (ADAPTER, "diffusion_model.adapter.", "adapter.", "")
_FURTHER = re.compile(r"(?:(?:model\.)?diffusion_model\.)?adapters\.(\d+)\.")
_BLOCKS_PER_SCALE = 2
_LIGHT_SCALES = 4
#: Side of the squares that T2I-Adapters for Stable Diffusion 1.x and XL fold into channels.
_FOLD, _FOLD_XL = 8, 16
_COLOURS = (1, 3)


def load_adapter(source: Source) -> ConditionAdapter | T2IAdapter:
    """Read one adapter, as `load_adapters` does.

    Raises:
        ExportError: as there; or the file holds several.
    """
    adapters = load_adapters(source)
    if len(adapters) > 1:
        raise ExportError(
            f"{source} holds {len(adapters)} adapters, as FG-DM's joint variant does; expected one"
        )
    return adapters[0]


def load_adapters(source: Source) -> tuple[ConditionAdapter | T2IAdapter, ...]:
    """Read an adapter: a folder, a Hugging Face id, or one file, which may hold several.

    A folder or repository holds one of ours or a diffusers `T2IAdapter`. A file holds an original
    FG-DM adapter or T2I-Adapter: alone, with bare keys or behind ``adapter.`` or
    ``model.diffusion_model.adapter.``, or inside a whole FG-DM checkpoint, whose other tensors are
    the base and are left alone. Its keys and shapes say which kind it is; a group normalisation has
    32 groups, as everywhere in Stable Diffusion. FG-DM's joint variant has further adapters beside
    it, behind ``adapters.0.``, ``adapters.1.`` and so on, whose features are added to the first's.

    Returns for each a `TimestepAdapter` or a `PlainAdapter`, which sample a factor's maps from
    latents, or a `T2IAdapter`, which takes a picture; the joint variant's in its order.

    Raises:
        ExportError: it is missing, unreadable or no adapter, or its tensors don't make one.
    """
    path = locate(source, "the adapter", LONE_MODEL)
    if path.is_dir():
        return (_from_folder(path),)
    tensors = read_tensors(path)
    further = _further(tensors, str(path))
    first = _from_tensors(_own(tensors, str(path)), str(path))
    others = [
        _from_tensors(adapter, f"adapter {number} of {path}")
        for number, adapter in enumerate(further)
    ]
    return (first, *others)


def _from_tensors(tensors: dict[str, Tensor], origin: str) -> ConditionAdapter | T2IAdapter:
    if any(".in_layers." in key for key in tensors):
        return fill(_timestep_adapter(tensors, origin), tensors, origin)
    if "body.0.body.0.block1.weight" in tensors:
        return _light_adapter(tensors, origin)
    if "body.0.block1.weight" in tensors:
        return _full_adapter(tensors, origin)
    raise ExportError(
        f"{origin} isn't an adapter: it has neither body.0.in_layers.0.weight (FG-DM, with the "
        "timestep) nor body.0.block1.weight (FG-DM without it, and T2I-Adapter). Style adapters "
        "and IP-Adapters are not supported"
    )


def _further(tensors: dict[str, Tensor], origin: str) -> list[dict[str, Tensor]]:
    """The joint variant's list of further adapters under bare keys, taken out of `tensors`."""
    found: dict[int, dict[str, Tensor]] = {}
    for key in list(tensors):
        if match := _FURTHER.match(key):
            found.setdefault(int(match[1]), {})[key[match.end() :]] = tensors.pop(key)
    if sorted(found) != list(range(len(found))):
        raise ExportError(
            f"{origin} has the further adapters {', '.join(map(str, sorted(found)))}; expected "
            "numbers from 0 on without a gap. Check that the file is whole"
        )
    return [found[number] for number in range(len(found))]


def _from_folder(folder: Path) -> ConditionAdapter | T2IAdapter:
    if not (folder / "config.json").is_file():
        raise ExportError(f"{folder} has no config.json; expected an adapter's folder")
    config = read_json(folder / "config.json")
    name = config.get("_class_name")
    if name not in _KINDS:
        raise ExportError(f"{folder} holds a {name}; expected one of {', '.join(_KINDS)}")
    if config.get("adapter_type") == "full_adapter_xl":
        refuse(str(folder), "a T2I-Adapter for Stable Diffusion XL")
    loaded: ConditionAdapter | T2IAdapter = load_folder(_KINDS[name], folder)
    return loaded


def _own(tensors: dict[str, Tensor], origin: str) -> dict[str, Tensor]:
    """The adapter's tensors under bare keys."""
    body = (
        prefix for prefix in _PREFIXES if any(key.startswith(f"{prefix}body.") for key in tensors)
    )
    prefix = next(body, None)
    if prefix is None:
        raise ExportError(f"{origin} holds no adapter: no key begins with body. or {ADAPTER}body.")
    if prefix == ADAPTER and f"{UNET}input_blocks.0.0.weight" in tensors:
        tensors = {key: value for key, value in tensors.items() if key.startswith(ADAPTER)}
    return {key.removeprefix(prefix): value for key, value in tensors.items()}


def _timestep_adapter(tensors: Mapping[str, Tensor], origin: str) -> TimestepAdapter:
    skips = [value for key, value in tensors.items() if key.endswith(".skip_connection.weight")]
    adapter: TimestepAdapter = empty(
        lambda: TimestepAdapter(
            in_channels=_shape(tensors, "conv_in.weight", origin)[1],
            channels=_channels(tensors, "in_layers.2.weight"),
            num_res_blocks=_BLOCKS_PER_SCALE,
            time_embed_dim=_shape(tensors, "body.0.emb_layers.1.weight", origin)[1],
            skip_kernel_size=skips[0].shape[-1] if skips else 1,
        ),
        origin,
    )
    return adapter


def _full_adapter(tensors: dict[str, Tensor], origin: str) -> PlainAdapter | T2IAdapter:
    """The plain FG-DM adapter takes a latent as it is; a T2I-Adapter folds a picture first."""
    in_channels = _shape(tensors, "conv_in.weight", origin)[1]
    channels = _channels(tensors, "block1.weight")
    if in_channels in [colours * _FOLD_XL**2 for colours in _COLOURS]:
        refuse(origin, "a T2I-Adapter for Stable Diffusion XL")
    if in_channels not in [colours * _FOLD**2 for colours in _COLOURS]:
        plain = empty(lambda: PlainAdapter(in_channels, channels, _BLOCKS_PER_SCALE), origin)
        return fill(plain, tensors, origin)

    def rename(parts: list[str]) -> list[str]:
        if parts[0] != "body" or len(parts) < 3 or not parts[1].isdecimal():
            return parts
        scale, block = divmod(int(parts[1]), _BLOCKS_PER_SCALE)
        within = parts[2:] if parts[2] == "in_conv" else ["resnets", str(block), *parts[2:]]
        return ["body", str(scale), *within]

    adapter = empty(
        lambda: T2IAdapter(in_channels // _FOLD**2, list(channels), _BLOCKS_PER_SCALE, _FOLD),
        origin,
    )
    return fill(adapter, _renamed(tensors, rename), origin)


def _light_adapter(tensors: dict[str, Tensor], origin: str) -> T2IAdapter:
    """The small kind, such as the public colour adapter."""

    def make() -> T2IAdapter:
        scales = range(_LIGHT_SCALES)
        outs = [_shape(tensors, f"body.{i}.out_conv.weight", origin)[0] for i in scales]
        blocks = {key.split(".")[3] for key in tensors if key.startswith("body.0.body.")}
        colours = _shape(tensors, "body.0.in_conv.weight", origin)[1] // _FOLD**2
        # diffusers repeats the last of the channels for the last scale.
        return T2IAdapter(colours, outs[:-1], len(blocks), _FOLD, "light_adapter")

    def rename(parts: list[str]) -> list[str]:
        return [*parts[:2], *("resnets" if part == "body" else part for part in parts[2:])]

    return fill(empty(make, origin), _renamed(tensors, rename), origin)


def _channels(tensors: Mapping[str, Tensor], convolution: str) -> tuple[int, ...]:
    """Output channels of each scale's first block."""
    channels: list[int] = []
    while (key := f"body.{len(channels) * _BLOCKS_PER_SCALE}.{convolution}") in tensors:
        channels.append(int(tensors[key].shape[0]))
    return tuple(channels)


def _shape(tensors: Mapping[str, Tensor], key: str, origin: str) -> tuple[int, ...]:
    if key not in tensors or tensors[key].ndim < 2:
        raise ExportError(f"{origin} lacks the adapter's {key}, or it has no such shape")
    return tuple(tensors[key].shape)


def _renamed(
    tensors: dict[str, Tensor], rename: Callable[[list[str]], list[str]]
) -> dict[str, Tensor]:
    """The tensors under the names of diffusers' `T2IAdapter`, which holds its network inside."""
    return {".".join(["adapter", *rename(key.split("."))]): tensors[key] for key in tensors}
