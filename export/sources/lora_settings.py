"""What a LoRA file says of its scales outside of its tensors."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ..errors import ExportError
from .tensors import read_json, safetensors_metadata

PEFT_CONFIG = "adapter_config.json"
_PEFT_TYPES = ("LORA", "LOHA", "LOKR")
#: Ways to begin a training that change the base's own weights too.
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")


class LoraSettings:
    """alpha and rank by layer: peft's adapter_config.json, or a diffusers file's header."""

    def __init__(self, path: Path, is_peft: bool) -> None:
        self._path = path
        config = path.with_name(PEFT_CONFIG)
        if is_peft:
            if not config.is_file():
                raise ExportError(
                    f"{path} has peft's names, whose scales are in {PEFT_CONFIG}; put that file "
                    "beside it, or give the folder or repository that holds both"
                )
            self._entries = read_json(config)
            self._check_peft(config)
            return
        text = safetensors_metadata(path).get("lora_adapter_metadata", "{}")
        try:
            self._entries = dict(json.loads(text))
        except (TypeError, ValueError, RecursionError) as error:
            raise ExportError(f"{path}: unreadable lora_adapter_metadata: {error}") from error
        self._is_peft = False

    def _check_peft(self, config: Path) -> None:
        self._is_peft = True
        kind = self._entries.get("peft_type", "LORA")
        if kind not in _PEFT_TYPES:
            raise ExportError(
                f"{config}: peft_type is {kind!r}; supported are {', '.join(_PEFT_TYPES)}"
            )
        start = str(self._entries.get("init_lora_weights", True)).lower()
        if start.startswith(_CHANGES_BASE):
            raise ExportError(
                f"{config}: init_lora_weights is {start!r}, which changes the base's weights as "
                "well; save the adapter with peft's path_initial_model_for_weight_conversion"
            )

    def factor(self, layer: str, rank: int | None) -> float:
        """alpha / rank of a layer such as ``unet.conv_in``; 1 where the file says nothing.

        rank: of its tensors; None if none of them is of low rank.
        """
        model, _, name = layer.partition(".")
        prefix = "" if self._is_peft else f"{model}."
        names = [name, f"text_model.{name}"] if model == "text_encoder" else [name]
        try:
            if rank is None:
                rank = int(self._by_pattern(prefix, "rank_pattern", "r", names) or 1)
                alpha = self._alpha(prefix, names) if self._is_peft else None
            else:
                alpha = self._alpha(prefix, names)
        except (TypeError, ValueError, AttributeError, re.error) as error:
            raise ExportError(f"{self._path}: malformed settings of its scales: {error}") from error
        if alpha is None:
            return 1.0
        root = self._entries.get(f"{prefix}use_rslora", False)
        return alpha / (rank**0.5 if root else rank)

    def _alpha(self, prefix: str, names: list[str]) -> float | None:
        key = "lora_alpha" if f"{prefix}lora_alpha" in self._entries else "alpha"
        value = self._by_pattern(prefix, "alpha_pattern", key, names)
        return None if value is None else float(value)

    def _by_pattern(self, prefix: str, patterns: str, key: str, names: list[str]) -> Any:
        """The value of the first pattern that fits the end of a layer's name, else `key`'s."""
        for pattern, value in (self._entries.get(prefix + patterns) or {}).items():
            if any(re.fullmatch(rf"(?:.*\.)?(?:{pattern})", name) for name in names):
                return value
        return self._entries.get(prefix + key)
