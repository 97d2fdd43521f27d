"""TensorFlow's frozen GraphDef: bytes to raw nodes, and one handler for each operation.

What every format shares (values, sizes, evaluation, builders, reports) stands one folder up and knows nothing of this.
"""
