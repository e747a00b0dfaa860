"""A tiny decoder for previews: the decoder of TAESD, or of any `AutoencoderTiny`."""

from __future__ import annotations

from diffusers import AutoencoderTiny
from torch import Tensor

from ..errors import ExportError
from .assemble import empty, fill
from .folders import load_weights, read_config
from .places import LONE_MODEL, Source, locate
from .tensors import read_tensors

_DECODER = "decoder.layers."


def load_tiny_decoder(source: Source) -> AutoencoderTiny:
    """Read a tiny decoder: a diffusers folder, a Hugging Face id, or ``taesd_decoder.safetensors``.

    Only the decoder is read: the model's `encoder` is None. It takes latents as the UNet sees them
    (its scaling_factor is 1 for TAESD) and gives a picture in -1..1.

    Raises:
        ExportError: it is missing, unreadable or of another architecture.
    """
    path = locate(source, "the tiny decoder", LONE_MODEL)
    if path.is_dir():
        config, tensors = read_config(path, "AutoencoderTiny"), load_weights(path)
        model = empty(lambda: AutoencoderTiny.from_config(config), str(path / "config.json"))
    else:
        model, tensors = empty(AutoencoderTiny, str(path)), read_tensors(path)
    model.encoder = None
    return fill(model, _named(tensors, str(path)), str(path))


def _named(tensors: dict[str, Tensor], origin: str) -> dict[str, Tensor]:
    if any(key.startswith(_DECODER) for key in tensors):
        return {key: value for key, value in tensors.items() if not key.startswith("encoder.")}
    # TAESD is a plain sequence whose layer 0 clamps its input; diffusers' sequence comes after it.
    named: dict[str, Tensor] = {}
    for key, value in tensors.items():
        number, _, rest = key.partition(".")
        if not number.isdecimal():
            raise ExportError(
                f"{origin} isn't a tiny decoder: it holds {key}; expected TAESD's names, such as "
                f"1.weight, or diffusers', such as {_DECODER}0.weight"
            )
        named[f"{_DECODER}{int(number) - 1}.{rest}"] = value
    return named
