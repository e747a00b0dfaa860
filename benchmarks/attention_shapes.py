"""Stable Diffusion 1.5's cross-attention, as `benchmarks.kernels` times it."""

TOKENS = 77
HEADS = 8
LEVELS = ((64, 40), (32, 80), (16, 160), (8, 160))  # side of the latent, head size
BATCHES = (2, 20)
