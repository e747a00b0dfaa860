"""Attention distillation (FG-DM, eq. 7): the student attends where the frozen teacher attends."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor
from torch.nn import functional

#: Side of the common grid: cross-attention maps, and both sides of self-attention maps.
CROSS_SIZE, SELF_SIZE = 16, 8


class _RecordingProcessor:
    """Plain attention that also keeps the softmax, averaged over heads: (B, P, T)."""

    def __init__(self) -> None:
        self.probabilities: Tensor | None = None

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **_: Any,
    ) -> Tensor:
        source = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query = attn.head_to_batch_dim(attn.to_q(hidden_states))
        key = attn.head_to_batch_dim(attn.to_k(source))
        value = attn.head_to_batch_dim(attn.to_v(source))
        probabilities = attn.get_attention_scores(query, key, attention_mask)
        self.probabilities = probabilities.float().unflatten(0, (-1, attn.heads)).mean(1)
        hidden = attn.batch_to_head_dim(torch.bmm(probabilities, value))
        return attn.to_out[1](attn.to_out[0](hidden))  # type: ignore[no-any-return]


def record_attention(
    unet: UNet2DConditionModel, forward: Callable[[], Tensor], kind: str = "attn"
) -> tuple[Tensor, dict[str, Tensor]]:
    """Run `forward` (a call of `unet`) and return its output with every layer's attention map.

    Keys are layer names: ``…attn1…`` is self-, ``…attn2…`` cross-attention; values are (B, P, T).
    kind: the part of their names that the recorded layers share.
    """
    plain = unet.attn_processors
    recorders: dict[str, Any] = {name: _RecordingProcessor() for name in plain if kind in name}
    unet.set_attn_processor({**plain, **recorders})
    try:
        output = forward()
    finally:
        unet.set_attn_processor(dict(plain))
    return output, {name: recorder.probabilities for name, recorder in recorders.items()}


def _grid(rows: Tensor, size: int) -> Tensor:
    """Interpolate the patch axis of (B, P, C) to size², bilinearly: (B, size², C)."""
    side = math.isqrt(rows.shape[1])
    if side == size:
        return rows
    maps = rows.transpose(1, 2).reshape(len(rows), -1, side, side)
    maps = functional.interpolate(maps, size=(size, size), mode="bilinear", align_corners=False)
    return maps.flatten(2).transpose(1, 2)


def _aggregate(maps: dict[str, Tensor], kind: str) -> Tensor:
    """g and the sum over layers of eq. 7, as one distribution per patch."""
    total: Tensor | None = None
    for name, attention in maps.items():
        if kind not in name:
            continue
        if kind == "attn2":
            resized = _grid(attention, CROSS_SIZE)
        else:
            resized = _grid(_grid(attention, SELF_SIZE).transpose(1, 2), SELF_SIZE).transpose(1, 2)
        total = resized if total is None else total + resized
    assert total is not None
    return total / total.sum(-1, keepdim=True)


def attention_distillation_loss(teacher: dict[str, Tensor], student: dict[str, Tensor]) -> Tensor:
    """KL(teacher ‖ student) of cross- plus self-attention, averaged over patches: a scalar."""
    loss = torch.zeros(())
    for kind in ("attn1", "attn2"):
        p, q = _aggregate(teacher, kind).detach(), _aggregate(student, kind)
        divergence = (p * ((p + 1e-8).log() - (q + 1e-8).log())).sum(-1).mean()
        loss = loss.to(divergence.device) + divergence
    return loss
