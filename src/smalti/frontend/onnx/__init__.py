"""ONNX: the bytes of a model to a checked table of raw nodes, and what stands for an operation.

The way of the bytes: :mod:`wire` walks them, counts what they hold, leaves the values of tensors where they are and
lets protobuf parse the small rest; :mod:`plan` checks and orders each graph by itself; :mod:`expand` puts them all into
one table, with local functions inlined and names resolved; :mod:`reader` is the door.
"""
