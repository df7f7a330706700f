"""Tracks on disk to random mixtures, fixed chunks and whole tracks as tensors; the embedded dataset; checks."""
