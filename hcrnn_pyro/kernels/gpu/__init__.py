"""Kernels for a GPU, written in Triton, which torch's CUDA builds bring along; nothing else may import from here."""
