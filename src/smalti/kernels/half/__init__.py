"""Convolutions of 16-bit elements: what they need besides :mod:`smalti.kernels.conv`."""
