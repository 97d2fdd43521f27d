"""Where a model departs from a reference: layer by layer, flipped labels, and which layers cost accuracy.

May import ``building`` and the other rooms that stand below it.
"""
