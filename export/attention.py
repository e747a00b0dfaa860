"""Attention of the exported graphs: the one op of ours, and processors that put it in the UNet."""

from __future__ import annotations

from typing import Any, cast

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from .op import OP_DOMAIN, OP_NAME, OP_VERSION


def segfree_attention(
    q: Tensor, k: Tensor, v: Tensor, attn_scale: Tensor, argmax_mask: Tensor
) -> Tensor:
    """Attention whose strongest token per patch is weighted by `attn_scale`.

    Segmentation-free guidance, section 4, eq. 9 and 10; heads are averaged for the argmax, so that
    a patch has one token per layer. Weights are not renormalised. Softmax runs in float32.

    Args:
        q: (B, H, P, d) queries. k, v: (B, H, T, d) keys and values.
        attn_scale: (B,) float; 1 is plain attention, -a the paper's degraded branch, 0 drops the
            token.
        argmax_mask: (B, T) bool; tokens that may be a patch's strongest. A row without any is left
            plain.

    Returns:
        (B, H, P, d). Under ONNX export: one ``fgdm::SegFreeAttention`` node.
    """
    if torch.onnx.is_in_onnx_export():
        return cast(Tensor, _OnnxNode.apply(q, k, v, attn_scale, argmax_mask))  # type: ignore[no-untyped-call]
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    weights = scores.float().softmax(-1)
    allowed = argmax_mask[:, None, :]
    strongest = weights.mean(1).masked_fill(~allowed, -1.0).argmax(-1, keepdim=True)  # first wins
    is_strongest = torch.arange(k.shape[2], device=k.device) == strongest
    factor = torch.where(is_strongest & allowed, attn_scale[:, None, None].float(), 1.0)
    return cast(Tensor, (weights * factor[:, None]).to(v.dtype) @ v)


def mean_weights(q: Tensor, k: Tensor) -> Tensor:
    """The weights (B, P, T) of plain attention, averaged over the heads, in float32.

    They are computed beside the op, which doesn't give them away: a second product of q and k.
    """
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    return cast(Tensor, scores.float().softmax(-1).mean(1))


class _OnnxNode(torch.autograd.Function):
    """Writes the op's node; only ever traced."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, *others: Tensor) -> Tensor:
        return q.clone()  # a tracer needs only the shape and type

    @staticmethod
    def symbolic(graph: Any, *inputs: Any) -> Any:
        # The attributes are what TensorRT parsers before 10.10 look a plugin up by.
        output = graph.op(
            f"{OP_DOMAIN}::{OP_NAME}",
            *inputs,
            plugin_version_s=str(OP_VERSION),
            plugin_namespace_s=OP_DOMAIN,
        )
        output.setType(inputs[0].type())
        return output


class PlainAttnProcessor:
    """Plain attention in the few standard ops that every runtime's fusion looks for."""

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        *,
        attention_mask: Tensor | None = None,
        attn_scale: Tensor | None = None,
        argmax_mask: Tensor | None = None,
        seen: list[Tensor] | None = None,
    ) -> Tensor:
        q, k, v = split_heads(attn, hidden_states, encoder_hidden_states)
        weights = ((q * attn.scale) @ k.transpose(-1, -2)).softmax(-1)
        return join_heads(attn, weights @ v)


class SegFreeAttnProcessor:
    """Cross-attention through `segfree_attention`.

    ``cross_attention_kwargs`` of the blocks bring `attn_scale` (B,) and `argmax_mask` (B, T), and
    `seen` where attention maps are wanted: each layer adds its `mean_weights`.
    """

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        *,
        attn_scale: Tensor,
        argmax_mask: Tensor,
        attention_mask: Tensor | None = None,
        seen: list[Tensor] | None = None,
    ) -> Tensor:
        q, k, v = split_heads(attn, hidden_states, encoder_hidden_states)
        if seen is not None:
            seen.append(mean_weights(q, k))
        return join_heads(attn, segfree_attention(q, k, v, attn_scale, argmax_mask))


def split_heads(
    attn: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """(B, P, C) states and (B, T, C') context to q (B, H, P, d), k and v (B, H, T, d)."""
    context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
    batch, heads = hidden_states.shape[0], attn.heads

    def split(layer: nn.Module, states: Tensor) -> Tensor:
        projected = layer(states)
        width = cast(nn.Linear, layer).out_features // heads
        return cast(Tensor, projected.reshape(batch, -1, heads, width).transpose(1, 2))

    return split(attn.to_q, hidden_states), split(attn.to_k, context), split(attn.to_v, context)


def join_heads(attn: Attention, states: Tensor) -> Tensor:
    """(B, H, P, d) to (B, P, C), through the output projection."""
    joined = states.transpose(1, 2).reshape(states.shape[0], -1, attn.to_out[0].in_features)
    return cast(Tensor, attn.to_out[0](joined))


def use_plain_attention(model: nn.Module) -> None:
    """Put `PlainAttnProcessor` on every attention of a UNet or ControlNet."""
    model.set_attn_processor(PlainAttnProcessor())  # type: ignore[operator]


def use_segfree_attention(unet: nn.Module) -> None:
    """Put `SegFreeAttnProcessor` on a UNet's cross-attentions, plain attention on the others."""
    for module in unet.modules():
        if isinstance(module, Attention):
            segfree = module.is_cross_attention
            module.set_processor(SegFreeAttnProcessor() if segfree else PlainAttnProcessor())
