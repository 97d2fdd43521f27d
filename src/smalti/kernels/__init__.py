"""Kernels: how each operation becomes machine code; one folder or file per family, listed in the registry."""
