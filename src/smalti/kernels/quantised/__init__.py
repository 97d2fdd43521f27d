"""Kernels of integer convolutions and what belongs to them."""
