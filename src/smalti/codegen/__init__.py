"""Code generation: a plan becomes one LLVM module with one entry point."""
