"""How a low-rank update changes a layer: pure functions of a layer's weight and a file's tensors.

Sources: LoRA (Hu et al. 2021) and rank-stabilised LoRA (Kalajdzievski 2023) as peft has them;
LoCon, LoHa and LoKr, with their Tucker forms, as LyCORIS defines them (Yeh et al. 2023); DoRA (Liu
et al. 2024), whose magnitude is a norm over a weight's inputs, or over its outputs in older files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

#: The role of a tensor by how its key ends. `weight` and `bias` replace what the layer has.
ROLES = {
    "lora_down.weight": "down",
    "lora_up.weight": "up",
    "lora_mid.weight": "middle",
    "lora_A.weight": "down",
    "lora_B.weight": "up",
    "lora_B.bias": "up_bias",
    "lora_embedding_A": "embedding_down",
    "lora_embedding_B": "embedding_up",
    "alpha": "alpha",
    "lora_magnitude_vector": "magnitude",
    "lora_magnitude_vector.weight": "magnitude",
    "dora_scale": "dora_scale",
    **{name: name for name in ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")},
    **{name: name for name in ("hada_t1", "hada_t2", "lokr_t2", "lokr_w1", "lokr_w2")},
    **{name: name for name in ("lokr_w1_a", "lokr_w1_b", "lokr_w2_a", "lokr_w2_b")},
    "diff": "difference",
    "diff_b": "bias_difference",
    "w_norm": "difference",
    "b_norm": "bias_difference",
}

_HADA = {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"}
_LOKR = ({"lokr_w1"}, {"lokr_w1_a", "lokr_w1_b"}), ({"lokr_w2"}, {"lokr_w2_a", "lokr_w2_b"})
_ALONE = ({"difference"}, {"bias_difference"}, {"weight"}, {"bias"})


@dataclass(frozen=True)
class Change:
    """The update before its scale, with the weight's elements in order, and its rank.

    rank: None where nothing is of low rank, so that no alpha is divided by it. scaled: whether an
    alpha counts at all.
    """

    delta: Tensor
    rank: int | None
    scaled: bool = True


def is_complete(roles: set[str]) -> bool:
    """Whether a layer's tensors make an update, and none is left over."""
    kinds: list[tuple[set[str], set[str]]] = [
        ({"down", "up"}, {"middle", "up_bias"}),
        ({"embedding_down", "embedding_up"}, set()),
        (_HADA, set()),
        (_HADA | {"hada_t1", "hada_t2"}, set()),
        *((first | second, {"lokr_t2"}) for first in _LOKR[0] for second in _LOKR[1]),
    ]
    optional = {"alpha", "magnitude", "dora_scale", "bias_difference", "bias"}
    if any(needed <= roles <= needed | more | optional for needed, more in kinds):
        return not {"magnitude", "dora_scale"} <= roles
    return any(alone <= roles for alone in _ALONE) and roles <= set().union(*_ALONE) | {"alpha"}


def change_of(tensors: Mapping[str, Tensor]) -> Change | None:
    """What tensors by role add to a weight; None if they change no weight or replace it.

    Raises:
        RuntimeError: their shapes don't fit each other.
    """
    t = {role: value.float() for role, value in tensors.items()}
    if "down" in t:
        down, up = t["down"].flatten(1), t["up"].flatten(1)
        delta = _tucker(t["middle"], up.T, down) if "middle" in t else up @ down
        return Change(delta, len(down))
    if "embedding_down" in t:
        return Change((t["embedding_up"] @ t["embedding_down"]).T, len(t["embedding_down"]))
    if "hada_w1_a" in t:
        first, second = (_product(t, f"hada_w{i}_a", f"hada_w{i}_b", f"hada_t{i}") for i in (1, 2))
        return Change(first * second, len(t["hada_w1_b"]))
    if {"lokr_w1", "lokr_w1_a"} & t.keys():
        return _kronecker(t)
    return Change(t["difference"], None, scaled=False) if "difference" in t else None


def changed_weight(
    weight: Tensor, change: Change, factor: float, t: Mapping[str, Tensor]
) -> Tensor:
    """A new tensor: the weight with the update, and with DoRA's magnitudes where there are any."""
    updated = weight + factor * change.delta.reshape(weight.shape)
    if "magnitude" in t:
        norm = updated.flatten(1).norm(dim=1)
        return updated * _rows(t["magnitude"].float().flatten() / norm, updated)
    if "dora_scale" in t:
        scale = t["dora_scale"].float()
        if scale.shape[0] == len(weight) and scale.numel() == len(weight):
            norm = updated.flatten(1).norm(dim=1)
            return updated * _rows(scale.flatten() / norm, updated)
        norm = updated.transpose(0, 1).flatten(1).norm(dim=1)
        return (updated.transpose(0, 1) * _rows(scale.flatten() / norm, updated)).transpose(0, 1)
    return updated


def magnitudes_fit(weight: Tensor, t: Mapping[str, Tensor]) -> bool:
    """Whether DoRA's magnitudes are as many as the weight has outputs, or inputs in old files."""
    if "magnitude" in t:
        return t["magnitude"].numel() == len(weight)
    if "dora_scale" not in t:
        return True
    scale = t["dora_scale"]
    outputs = scale.shape[:1] == weight.shape[:1] and scale.numel() == len(weight)
    inputs = weight.ndim > 1 and tuple(scale.shape[:2]) == (1, weight.shape[1])
    return outputs or (inputs and scale.numel() == weight.shape[1])


def _kronecker(t: Mapping[str, Tensor]) -> Change:
    ranks = [len(t[name]) for name in ("lokr_w1_b", "lokr_w2_b") if name in t]
    first = t["lokr_w1"] if "lokr_w1" in t else t["lokr_w1_a"] @ t["lokr_w1_b"]
    second = t["lokr_w2"] if "lokr_w2" in t else _product(t, "lokr_w2_a", "lokr_w2_b", "lokr_t2")
    if second.ndim == 4 and first.ndim == 2:
        first = first[..., None, None]
    return Change(torch.kron(first.contiguous(), second.contiguous()), ranks[0] if ranks else None)


def _product(t: Mapping[str, Tensor], a: str, b: str, core: str) -> Tensor:
    return _tucker(t[core], t[a], t[b]) if core in t else t[a] @ t[b]


def _tucker(core: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """(outputs, inputs, h, w) of a core (i, j, h, w), outputs (i, p) and inputs (j, r)."""
    return torch.einsum("ijhw,ip,jr->prhw", core, a, b)


def _rows(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(-1, *(1 for _ in like.shape[1:]))
