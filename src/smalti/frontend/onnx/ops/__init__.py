"""How operations of ONNX are imported: a file for each family, named by :mod:`smalti.frontend.onnx.handlers`."""
