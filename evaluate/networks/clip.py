"""CLIP's score of picture and prompt, from a folder in transformers' layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from fgdm.errors import RequestError

from .base import Floats, Pictures


class ClipScorer:
    """100 times the cosine of a picture's and its prompt's embedding, as torchmetrics has it.

    The end of a prompt that is too long for the model isn't read.
    """

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        """Raises RequestError for what is no folder of a CLIP model with its tokenizer and image
        processor."""
        from transformers import (  # noqa: PLC0415 (seconds)
            CLIPImageProcessorPil,
            CLIPModel,
            CLIPTokenizer,
        )

        try:
            model = CLIPModel.from_pretrained(folder, local_files_only=True)
            self._tokenizer: Any = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
            self._processor: Any = CLIPImageProcessorPil.from_pretrained(
                folder, local_files_only=True
            )
        except (OSError, ValueError) as error:
            raise RequestError(
                f"can't read a CLIP model in {folder}: {error!s:.200}; expected the folder that "
                "transformers' CLIPModel and CLIPProcessor save"
            ) from None
        self._model: Any = model.eval().to(device)
        self._device = device
        self._length = int(model.config.text_config.max_position_embeddings)
        self.name = f"CLIP score ({folder.resolve().name})"

    @torch.no_grad()
    def score(self, pictures: Pictures, texts: Sequence[str]) -> Floats:
        """(n,), -100 to 100."""
        pixels = self._processor(images=list(pictures), return_tensors="pt")["pixel_values"]
        tokens = self._tokenizer(
            list(texts), return_tensors="pt", padding=True, truncation=True, max_length=self._length
        )
        seen = self._model(
            pixel_values=pixels.to(self._device),
            input_ids=tokens["input_ids"].to(self._device),
            attention_mask=tokens["attention_mask"].to(self._device),
        )
        cosines = (seen.image_embeds * seen.text_embeds).sum(-1)  # both have length 1
        scores: Floats = (100 * cosines).float().cpu().numpy()
        return scores
