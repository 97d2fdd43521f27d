"""The unified graph: sizes, operations, nodes, verifier, text form and numpy meaning."""
