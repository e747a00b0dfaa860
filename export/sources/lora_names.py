"""Which layer, and what of it, a tensor of a LoRA file is, by its name."""

from __future__ import annotations

from collections.abc import Iterable

from diffusers.utils import convert_state_dict_to_peft, convert_unet_state_dict_to_peft

from .lora_maths import ROLES

UNET, TEXT_ENCODER = "unet.", "text_encoder."
#: How peft itself begins its keys.
PEFT = "base_model.model."
#: kohya's beginnings of a text encoder's keys, and that of OneTrainer.
_KOHYA_TEXT = ("lora_te_text_model_", "lora_te1_text_model_")
#: What peft saves of a layer besides, or in place of, its low-rank pair.
_WHOLE = {
    "weight": "weight",
    "bias": "bias",
    "base_layer.bias": "bias",
    "modules_to_save.weight": "weight",
    "modules_to_save.bias": "bias",
}
#: Methods that aren't supported, by what only their keys hold.
FOREIGN = {
    "oft_": "OFT or BOFT, which turns weights",
    ".a1.weight": "GLoRA",
    ".on_input": "(IA)³",
    ".ia3_l": "(IA)³",
    "vera_lambda": "VeRA",
    "trainable_tokens": "an adapter of single tokens",
}


def layer_and_role(keys: Iterable[str], layers: set[str]) -> dict[str, tuple[str, str]]:
    """Layer and role by key, of those keys that are known and whose layer is in `layers`.

    layers: ``unet.…`` and ``text_encoder.…``, the latter without ``text_model.``.
    """
    every = list(keys)
    names = {**_kohya(every, layers), **_peft(every, layers), **_diffusers(every)}
    return {key: (layer, role) for key, (layer, role) in names.items() if layer in layers}


def _split(name: str, roles: dict[str, str]) -> tuple[str, str] | None:
    """A layer's name and a role; the longest ending counts."""
    for ending in sorted(roles, key=len, reverse=True):
        if name.endswith(f".{ending}"):
            return name.removesuffix(f".{ending}"), roles[ending]
    return None


def _kohya(keys: Iterable[str], layers: set[str]) -> dict[str, tuple[str, str]]:
    """kohya and LyCORIS join the parts of a layer's name with underscores."""
    joined = {}
    for layer in layers:
        model, _, name = layer.partition(".")
        for prefix in ("lora_unet_",) if model == "unet" else _KOHYA_TEXT:
            joined[prefix + name.replace(".", "_")] = layer
    split = ((key, _split(key, ROLES)) for key in keys)
    return {key: (joined[s[0]], s[1]) for key, s in split if s is not None and s[0] in joined}


def _peft(keys: Iterable[str], layers: set[str]) -> dict[str, tuple[str, str]]:
    """peft wraps one model, and doesn't say which: the layer does."""
    names: dict[str, tuple[str, str]] = {}
    for key in keys:
        split = _split(key.removeprefix(PEFT), {**ROLES, **_WHOLE})
        if not key.startswith(PEFT) or split is None:
            continue
        layer, role = split
        text = TEXT_ENCODER + layer.removeprefix("text_model.")
        names[key] = (UNET + layer if UNET + layer in layers else text, role)
    return names


def _diffusers(keys: Iterable[str]) -> dict[str, tuple[str, str]]:
    """The names that diffusers has used over the years."""
    own = [key for key in keys if not key.startswith(("lora_", PEFT))]
    # The oldest files hold a UNet's layers only, and say nothing of the model.
    prefixed = any(key.startswith((UNET, TEXT_ENCODER)) for key in own)
    unet = {key.removeprefix(UNET): key for key in own if key.startswith(UNET) or not prefixed}
    text = {
        key.removeprefix(TEXT_ENCODER).removeprefix("text_model."): key
        for key in own
        if key.startswith(TEXT_ENCODER)
    }
    new = (".lora_A.", ".lora_B.", ".lora_magnitude_vector", ".alpha")
    if any(not any(part in name for part in new) for name in text):
        try:
            text = convert_state_dict_to_peft(text)
        except ValueError:  # Names that diffusers doesn't know either; they will match nothing.
            text = {}
    names: dict[str, tuple[str, str]] = {}
    for prefix, group in ((UNET, convert_unet_state_dict_to_peft(unet)), (TEXT_ENCODER, text)):
        for name, key in group.items():
            split = _split(name, ROLES)
            if split is not None:
                names[key] = (prefix + split[0], split[1])
    return names
