"""The matrix core: pixels x depth times depth x channels, for every dot product and every epilogue."""
