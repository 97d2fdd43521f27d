"""TensorFlow's frozen GraphDef: bytes to raw nodes, and one handler for each operation.

What every format shares (values, sizes, evaluation, reports) stands one folder up. That part still imports the raw
nodes and the handlers of this one, which is the only format.
"""
