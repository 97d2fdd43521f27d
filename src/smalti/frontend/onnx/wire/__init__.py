"""What stands in the bytes of an ONNX file: messages, types, and tensors with their values, inside or beside it."""
