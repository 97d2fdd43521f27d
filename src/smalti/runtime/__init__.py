"""Loads and runs offline models.  Needs numpy and the C library only: no LLVM, no protobuf, no compiler."""
