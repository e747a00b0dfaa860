"""Segmentation-free attention from the paper's equations, as a processor for diffusers' attention.

It shares no code with fgdm: the tests' reference.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention, AttnProcessor
from torch import Tensor


class PaperAttnProcessor:
    """Eq. 9: a patch's semantic is the token i > 0 of the largest cross-attention weight A.

    Eq. 10 and algorithm 1: that weight becomes -a times itself. `scales` holds one factor per row
    of the batch; 1 leaves a row as it is. The caller sets it before each forward pass.
    """

    def __init__(self, scales: Sequence[float]) -> None:
        self.scales = scales

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        query = attn.head_to_batch_dim(attn.to_q(hidden_states))
        key = attn.head_to_batch_dim(attn.to_k(encoder_hidden_states))
        value = attn.head_to_batch_dim(attn.to_v(encoder_hidden_states))
        weights = attn.get_attention_scores(query, key)
        for row, scale in enumerate(self.scales):
            heads = weights[row * attn.heads : (row + 1) * attn.heads]  # (H, P, T), a view
            semantic = 1 + heads.mean(0)[:, 1:].argmax(1)
            patches = torch.arange(len(semantic))
            heads[:, patches, semantic] *= scale
        states = attn.batch_to_head_dim(weights @ value)
        projected: Tensor = attn.to_out[1](attn.to_out[0](states))
        return projected


def use_paper_attention(unet: UNet2DConditionModel, scales: Sequence[float]) -> PaperAttnProcessor:
    """Put one shared processor on every cross-attention of `unet`, and return it."""
    paper = PaperAttnProcessor(scales)
    unet.set_attn_processor(
        {name: paper if "attn2" in name else AttnProcessor() for name in unet.attn_processors}
    )
    return paper
