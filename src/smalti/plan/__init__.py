"""Planning: which kernel computes each node, where each tensor lies, and how long it lives."""
