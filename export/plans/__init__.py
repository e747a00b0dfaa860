"""Compiled plans of a bundle's graphs, for TensorRT and TensorRT-RTX. PyTorch isn't needed."""
