"""The training loop of every stage: AdamW, warm-up and cosine decay, averaged weights, resume."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from .presets import StageBudget

#: The loss of a step, from its number and a generator seeded by it; the dict holds what to log.
LossFunction = Callable[[int, np.random.Generator], tuple[Tensor, dict[str, float]]]


@dataclass(frozen=True)
class LoopOptions:
    """device: where models live. seed: of what each step draws. log_every, save_every: in steps and
    seconds."""

    device: torch.device
    seed: int = 0
    log_every: int = 20
    save_every: float = 120.0
    ema_decay: float = 0.998


def freeze(*models: nn.Module) -> None:
    """Has them stay as they are while others learn."""
    for model in models:
        model.requires_grad_(False)
        model.eval()


def mixed_precision(device: torch.device) -> torch.autocast:
    """bfloat16 where it is faster than float32: GPUs, and processors that multiply in it."""
    able = torch.cpu.get_capabilities()
    fast = device.type != "cpu" or bool(able.get("amx_bf16") or able.get("avx512_bf16"))
    return torch.autocast(device.type, torch.bfloat16, enabled=fast)


def learning_rate(step: int, budget: StageBudget) -> float:
    """Linear warm-up, then half a cosine down to 2 % of the peak."""
    if step < budget.warmup:
        return budget.learning_rate * (step + 1) / budget.warmup
    progress = (step - budget.warmup) / max(1, budget.steps - budget.warmup)
    return budget.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))


@contextmanager
def _flushed_denormals() -> Iterator[None]:
    """Where gradients all but vanish, the moments become denormal numbers, which processors handle
    so slowly that the optimiser would take longer than the network. Afterwards the thread has them
    again."""
    had_none = sys.float_info.min / 2 == 0.0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(had_none)


@_flushed_denormals()
def train_stage(
    name: str,
    modules: nn.ModuleDict,
    loss_function: LossFunction,
    budget: StageBudget,
    folder: Path,
    options: LoopOptions,
) -> None:
    """Train `modules` and leave their averaged weights in them.

    Resumes from ``<folder>/<name>.state.pt`` after an interruption and writes the loss curve to
    ``<folder>/<name>.jsonl``. Each step's data depends only on (options.seed, step), so a resumed
    run sees what an uninterrupted one would have seen.
    """
    state_path, log_path = folder / f"{name}.state.pt", folder / f"{name}.jsonl"
    parameters = [p for p in modules.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=budget.learning_rate, weight_decay=1e-2, fused=True
    )
    average = [p.detach().clone() for p in parameters]
    first = 0
    if state_path.exists():
        state = torch.load(state_path, map_location=options.device, weights_only=True)
        modules.load_state_dict(state["modules"])
        optimizer.load_state_dict(state["optimizer"])
        average, first = state["average"], int(state["step"])
        print(f"{name}: resuming at step {first}/{budget.steps}", flush=True)

    def save(step: int) -> None:
        partial = state_path.with_suffix(".partial")
        torch.save(
            {
                "modules": modules.state_dict(),
                "optimizer": optimizer.state_dict(),
                "average": average,
                "step": step,
            },
            partial,
        )
        partial.replace(state_path)

    began = last_saved = time.monotonic()
    window: list[dict[str, float]] = []
    modules.train()
    for step in range(first, budget.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, budget)
        loss, values = loss_function(step, np.random.default_rng((options.seed, step)))
        if not torch.isfinite(loss):
            raise FloatingPointError(f"{name}: the loss is {loss.item()} at step {step}")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        decay = min(options.ema_decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(average, [p.detach() for p in parameters], 1 - decay)

        window.append({"loss": float(loss.detach()), **values})
        if (step + 1) % options.log_every == 0 or step + 1 == budget.steps:
            _report(name, step + 1, budget, window, began, step + 1 - first, log_path)
            window.clear()
        if time.monotonic() - last_saved > options.save_every:
            save(step + 1)
            last_saved = time.monotonic()
    with torch.no_grad():
        for parameter, mean in zip(parameters, average, strict=True):
            parameter.copy_(mean)
    modules.eval()


def _report(
    name: str,
    step: int,
    budget: StageBudget,
    window: list[dict[str, float]],
    began: float,
    done: int,
    log_path: Path,
) -> None:
    keys = sorted({key for values in window for key in values})
    means = {
        key: float(np.mean([values[key] for values in window if key in values])) for key in keys
    }
    elapsed = time.monotonic() - began
    left = elapsed / done * (budget.steps - step)
    with log_path.open("a") as log:
        log.write(json.dumps({"step": step, "seconds": elapsed, **means}) + "\n")
    shown = "  ".join(f"{key} {value:.4f}" for key, value in means.items())
    rate = done * budget.batch / elapsed
    print(
        f"{name} {step}/{budget.steps}  {shown}  {rate:.0f}/s  {left / 60:.1f} min left", flush=True
    )
