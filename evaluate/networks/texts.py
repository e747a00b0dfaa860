"""Embeddings of prompts: of a CLIP model, or of a bundle's own text encoder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from fgdm.errors import BundleError, RequestError
from fgdm.file_tree import require_folder
from fgdm.files import read_regular

from .base import Floats

_BATCH = 64


class TextNetwork(Protocol):
    """name: for tables."""

    @property
    def name(self) -> str: ...

    def embed(self, texts: Sequence[str]) -> Floats:
        """(n, d)."""
        ...


class ClipTexts:
    """The projected embeddings that CLIP compares with pictures'."""

    def __init__(self, folder: Path) -> None:
        """folder: as transformers saves a CLIP model. Raises RequestError for what is none."""
        from transformers import (  # noqa: PLC0415 (seconds)
            CLIPTextModelWithProjection,
            CLIPTokenizer,
        )

        try:
            self._model: Any = CLIPTextModelWithProjection.from_pretrained(
                folder, local_files_only=True
            ).eval()
            self._tokenizer: Any = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise RequestError(f"can't read a CLIP model in {folder}: {error!s:.200}") from None
        self.name = f"CLIP ({folder.resolve().name})"

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> Floats:
        """(n, d); the end of a prompt that is too long isn't read."""
        length = int(self._model.config.max_position_embeddings)
        rows = []
        for start in range(0, len(texts), _BATCH):
            tokens = self._tokenizer(
                list(texts[start : start + _BATCH]),
                return_tensors="pt",
                padding=True,
                truncation=True,
                max_length=length,
            )
            rows.append(self._model(**tokens).text_embeds.float().numpy())
        return np.concatenate(rows)


class BundleTexts:
    """What a bundle's text encoder makes of a prompt at the token that ends it."""

    def __init__(self, bundle: Path) -> None:
        """Raises BundleError for a bundle that can't be read."""
        require_folder(bundle, "its text encoder by itself")
        import onnxruntime  # noqa: PLC0415 (one of several packages)
        from transformers import CLIPTokenizer  # noqa: PLC0415

        try:
            manifest = json.loads(read_regular(bundle / "manifest.json"))
            encoder = manifest["text_encoder"]
            self._length = int(encoder["max_length"])
            self._tokenizer: Any = CLIPTokenizer.from_pretrained(
                bundle / encoder["tokenizer"], local_files_only=True
            )
            self._session: Any = onnxruntime.InferenceSession(
                str(bundle / manifest["graphs"][encoder["graph"]]["file"]),
                providers=["CPUExecutionProvider"],
            )
        except Exception as error:  # of files, JSON and the runtime
            raise BundleError(f"can't read the text encoder of {bundle}: {error!s:.200}") from None
        self.name = f"text encoder of {manifest['name']}"

    def embed(self, texts: Sequence[str]) -> Floats:
        """(n, hidden size); the end of a prompt that is too long isn't read."""
        (given,) = self._session.get_inputs()
        kind = np.int32 if "int32" in given.type else np.int64
        rows = []
        for start in range(0, len(texts), _BATCH):
            tokens = self._tokenizer(
                list(texts[start : start + _BATCH]),
                padding="max_length",
                truncation=True,
                max_length=self._length,
                return_tensors="np",
            )["input_ids"]
            (hidden, *_) = self._session.run(None, {given.name: tokens.astype(kind)})
            ends = (tokens == self._tokenizer.eos_token_id).argmax(1)  # the first; others pad
            rows.append(hidden[np.arange(len(tokens)), ends].astype(np.float32))
        return np.concatenate(rows)
