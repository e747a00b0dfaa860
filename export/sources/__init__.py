"""Reads the models that a bundle is made of, from the files in which they are published.

`load_models` reads all of a bundle; `load_base`, `load_adapters`, `load_adapter`, `load_backbone`,
`load_controlnet`, `load_tiny_decoder` and `load_tokenizer` read one of its parts, and `merge_lora`
and `add_word` change a base.
"""

from .adapters import load_adapter, load_adapters
from .backbones import load_backbone
from .base import Base, load_base
from .controlnets import load_controlnet
from .loras import Lora, merge_lora
from .models import Models, load_models
from .places import Source
from .textual_inversion import TextualInversion, add_word
from .tiny_decoder import load_tiny_decoder
from .tokenizers import Tokenizer, load_tokenizer

__all__ = [
    "Base",
    "Lora",
    "Models",
    "Source",
    "TextualInversion",
    "Tokenizer",
    "add_word",
    "load_adapter",
    "load_adapters",
    "load_backbone",
    "load_base",
    "load_controlnet",
    "load_models",
    "load_tiny_decoder",
    "load_tokenizer",
    "merge_lora",
]
