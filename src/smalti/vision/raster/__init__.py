"""Readers of pictures whose structure is checked and that are written anew before a decoder sees them."""
