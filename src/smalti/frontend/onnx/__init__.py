"""ONNX: the bytes of a model to a checked table of raw nodes.  Operations are the next floor's business.

The way of the bytes: :mod:`skeleton` walks them, counts what they hold and leaves the values of tensors where they are;
:mod:`messages` lets protobuf parse the small rest; :mod:`plan` checks and orders each graph by itself; :mod:`expand`
puts them all into one table, with local functions inlined and names resolved; :mod:`reader` is the door.
"""
