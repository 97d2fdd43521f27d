"""LLVM: a typed builder of loops and vectors, the backend, and the linker of position-independent code."""
