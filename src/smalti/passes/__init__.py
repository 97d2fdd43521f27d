"""Rewrites that turn an imported graph into the canonical one; ``pipeline`` is the list of them."""
