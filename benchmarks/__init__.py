"""Measurements: Smalti beside other engines, and its kernels against what the machine can do."""
