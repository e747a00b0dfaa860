#!/usr/bin/env bash
# diffusers' LEDITS++ sums the attention of a text's padding with that of its words: transformers 5's tokenizer counts it.
#
# Packages: diffusers 0.42.1, transformers 5.23.0, torch 2.13.0.
# Documentation: encode_prompt takes text_inputs.length - 2 tokens of an edit, "not counting startoftext and endoftext", for the masks of
#   cross-attention (use_cross_attn_mask, use_intersect_mask). The tokenizer's return_length is "the lengths of the encoded inputs".
# Expected: two tokens for "a dog", whatever it is padded to.
# Seen: with padding="max_length" the length is max_length, so that an edit of any words has 75 tokens of 77, and its mask is where all but two
#   tokens are looked at.
# For diffusion models: masks of cross-attention in LEDITS++ say little about the edit's words; a port that is compared with it must say how
#   many tokens there are.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6 torch==2.13.0 diffusers==0.42.1 transformers==5.23.0
cd "$place"
"$place/venv/bin/python" - <<'END'
import json
import warnings
from types import SimpleNamespace

warnings.filterwarnings("ignore")
import torch
from diffusers import LEditsPPPipelineStableDiffusion
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

letters = [chr(i) for i in range(ord("a"), ord("z") + 1)]
words = [*letters, *(f"{letter}</w>" for letter in letters), "do", "dog</w>", "<|startoftext|>", "<|endoftext|>"]
open("vocab.json", "w").write(json.dumps({word: i for i, word in enumerate(words)}))
open("merges.txt", "w").write("#version: 0.2\nd o\ndo g</w>\n")
tokenizer = CLIPTokenizer("vocab.json", "merges.txt", model_max_length=77)
plain = len(tokenizer("a dog").input_ids) - 2
config = CLIPTextConfig(
    vocab_size=len(words), hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, projection_dim=8
)
pipeline = SimpleNamespace(
    batch_size=1, tokenizer=tokenizer, text_encoder=CLIPTextModel(config), unet=None, clip_skip=None,
    maybe_convert_prompt=lambda texts, _: texts,
)
with torch.no_grad():
    *_, counted = LEditsPPPipelineStableDiffusion.encode_prompt(
        pipeline, device="cpu", num_images_per_prompt=1, enable_edit_guidance=True, editing_prompt=["a dog"]
    )
print("tokens of 'a dog':", plain, "by the pipeline:", [int(count) for count in counted])
if plain != 2:
    raise SystemExit("couldn't be run: the tokenizer has other tokens")
if [int(count) for count in counted] != [75]:
    raise SystemExit("changed: the pipeline counts otherwise now")
print("as recorded: the padding is counted")
END
