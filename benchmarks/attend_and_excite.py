"""Attend-and-Excite (Chefer et al., SIGGRAPH 2023), the inference-time rival of FG-DM's Table 4.

While the layout forms, every step moves the latent down the gradient of a loss that is large while
some subject of the prompt has no patch that attends to it. At a few steps this is repeated until
every subject has one. The defaults are the paper's for 50 steps, as fractions of the steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from fgdm.train.distill import record_attention
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from benchmarks.rival import DiffusersChain

#: Factor on attention before the softmax that leaves out BOS (the authors' implementation).
_SHARPNESS = 100.0
_KERNEL_SIZE, _SIGMA = 3, 0.5


@dataclass(frozen=True)
class ExciteSettings:
    """The method's constants.

    altered: the fraction of the steps that move the latent. thresholds: by fraction of the steps,
    the least attention that every subject must reach there. refinements: most repetitions of one
    step. step_size: α of the first step; it falls with the square root of a line from 1 to
    `last_share` (the authors' implementation). attention_size: side of the attention maps used;
    where the network has no such level, the nearest one.
    """

    altered: float = 0.5
    thresholds: dict[float, float] = field(default_factory=lambda: {0.0: 0.05, 0.2: 0.5, 0.4: 0.8})
    refinements: int = 20
    step_size: float = 20.0
    last_share: float = 0.5
    attention_size: int = 16

    def step_sizes(self, steps: int) -> list[float]:
        """α of every step."""
        shares = np.linspace(1.0, self.last_share, steps)
        return [float(size) for size in self.step_size * np.sqrt(shares)]

    def altered_steps(self, steps: int) -> int:
        """How many steps, from the first on, move the latent."""
        return round(self.altered * steps)

    def threshold_steps(self, steps: int) -> dict[int, float]:
        """Thresholds by step."""
        return {round(at * steps): least for at, least in self.thresholds.items()}


def subject_attention(attention: Tensor, subjects: Sequence[int]) -> Tensor:
    """The strongest smoothed attention that each subject token gets: (len(subjects),).

    attention: (side, side, tokens), of one row, averaged over heads and layers. The first token
    (BOS) and the last are left out, the others sharpened by a softmax, and each subject's map is
    smoothed, so that no single patch counts (paper, section 3.1).
    """
    sharpened = torch.softmax(_SHARPNESS * attention[..., 1:-1].float(), -1)
    maps = torch.stack([sharpened[..., token - 1] for token in subjects])[:, None]
    pad = _KERNEL_SIZE // 2
    smoothed = functional.conv2d(functional.pad(maps, (pad,) * 4, mode="reflect"), _gaussian())
    return smoothed.flatten(1).amax(1)


def excite_loss(attention: Tensor, subjects: Sequence[int]) -> Tensor:
    """The loss of the most neglected subject, max over s of 1 - max A_s (paper, eq. 1)."""
    return (1 - subject_attention(attention, subjects)).amax()


def refine(
    latents: Tensor,
    loss_of: Callable[[Tensor], Tensor],
    step_size: float,
    threshold: float | None,
    refinements: int,
) -> Tensor:
    """One step's change of the latent: down the gradient once, and before that as often as it takes
    for the loss to fall to 1 - threshold, at most `refinements` times."""
    latents, loss = _with_loss(latents, loss_of)
    if threshold is not None:
        for _ in range(refinements):
            if loss.item() <= 1 - threshold:
                break
            latents, loss = _with_loss(_descend(latents, loss, step_size), loss_of)
    return _descend(latents, loss, step_size)


def attend_and_excite(
    chain: DiffusersChain,
    prompt: str,
    subjects: Sequence[int],
    latents: Tensor,
    steps: int,
    guidance_scale: float,
    settings: ExciteSettings | None = None,
) -> NDArray[np.uint8]:
    """A picture (H, W, 3) of the base model, from noise (1, 4, h, w).

    subjects: places of the subject tokens in the prompt, BOS being 0; see `subject_tokens`. Latents
    stay in float32, whatever the networks compute in.
    """
    settings = settings or ExciteSettings()
    with torch.no_grad():
        context = chain.encode(["", prompt])
    side = _attention_side(chain, latents.shape[-1], settings.attention_size)
    sizes = settings.step_sizes(steps)
    thresholds = settings.threshold_steps(steps)
    latents = latents.float()
    chain.scheduler.set_timesteps(steps)
    for step, timestep in enumerate(chain.scheduler.timesteps):

        def loss_of(sample: Tensor, timestep: Tensor = timestep) -> Tensor:
            _, maps = record_attention(
                chain.unet,
                lambda: chain.unet(sample.to(chain.dtype), timestep, context[1:]).sample,
                kind="attn2",
            )
            return excite_loss(_average(maps, side), subjects)

        if step < settings.altered_steps(steps):
            threshold = thresholds.get(step)
            latents = refine(latents, loss_of, sizes[step], threshold, settings.refinements)
        with torch.no_grad():
            rows = torch.cat([latents, latents]).to(chain.dtype)
            negative, positive = chain.unet(rows, timestep, context).sample.float().chunk(2)
            guided = negative + guidance_scale * (positive - negative)
            latents = chain.scheduler.step(guided, timestep, latents).prev_sample
    (picture,) = chain.decode(latents.to(chain.dtype))
    return np.asarray(picture)


def subject_tokens(
    prompt: str,
    things: Sequence[str],
    tokenize: Callable[[str], Sequence[int]],
    classes_of: Callable[[str], Sequence[str]],
) -> list[int]:
    """Where the prompt first names each thing: places of tokens, BOS being 0.

    tokenize: the token ids of a word, without BOS and EOS. classes_of: the classes that a word
    means, however it is written. A word of several tokens counts by its last.
    """
    place, first = 0, dict[str, int]()
    for word in prompt.replace(",", " , ").split():
        place += len(tokenize(word))
        for name in classes_of(word):
            first.setdefault(name, place)
    missing = [thing for thing in things if thing not in first]
    if missing:
        raise ValueError(f"the prompt {prompt!r} doesn't name {', '.join(missing)}")
    return [first[thing] for thing in things]


def _with_loss(latents: Tensor, loss_of: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    latents = latents.detach().requires_grad_()
    with torch.enable_grad():
        return latents, loss_of(latents)


def _descend(latents: Tensor, loss: Tensor, step_size: float) -> Tensor:
    (gradient,) = torch.autograd.grad(loss, latents)
    return (latents - step_size * gradient).detach()


def _average(maps: dict[str, Tensor], side: int) -> Tensor:
    """Cross-attention at one resolution, averaged over layers: (side, side, tokens)."""
    chosen = [attention for attention in maps.values() if attention.shape[1] == side * side]
    return torch.cat(chosen).mean(0).reshape(side, side, -1)


def _attention_side(chain: DiffusersChain, latent_side: int, wanted: int) -> int:
    """The level with cross-attention whose side is nearest to the wanted one."""
    kinds = chain.unet.config.down_block_types
    sides = [latent_side >> level for level, kind in enumerate(kinds) if "CrossAttn" in kind]
    return min(sides, key=lambda side: abs(side - wanted))


def _gaussian() -> Tensor:
    """A normalised Gaussian kernel (1, 1, 3, 3)."""
    offsets = torch.arange(_KERNEL_SIZE) - _KERNEL_SIZE // 2
    line = torch.exp(-(offsets**2) / (2 * _SIGMA**2))
    kernel = torch.outer(line, line)
    return (kernel / kernel.sum())[None, None]
