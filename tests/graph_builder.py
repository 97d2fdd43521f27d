"""Builds GraphDef bytes for tests, without TensorFlow.

::

    data = (
        GraphBuilder()
        .placeholder("x", np.float32, [1, None, None, 3])
        .const("w", np.zeros((3, 3, 3, 8), np.float32))
        .node("Conv2D", "y", ["x", "w"], strides=[1, 1, 1, 1], padding="SAME")
        .bytes()
    )
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from smalti.frontend.tensorflow.graphdef import GraphDef
from smalti.frontend.tensorflow.tensors import TfType

TF_TYPES = {
    "float32": TfType.FLOAT,
    "float64": TfType.DOUBLE,
    "float16": TfType.HALF,
    "uint8": TfType.UINT8,
    "int8": TfType.INT8,
    "uint16": TfType.UINT16,
    "int16": TfType.INT16,
    "int32": TfType.INT32,
    "int64": TfType.INT64,
    "bool": TfType.BOOL,
    "complex64": TfType.COMPLEX64,
}
AttrInput = int | float | bool | str | bytes | TfType | type | list[int] | None


def tf_type(dtype: Any) -> TfType:
    """Return TensorFlow's type for a numpy dtype (a ``TfType`` is returned as it is)."""
    return dtype if isinstance(dtype, TfType) else TF_TYPES[np.dtype(dtype).name]


class GraphBuilder:
    """Collects nodes; every method returns the builder."""

    def __init__(self) -> None:
        self.graph = GraphDef()

    def placeholder(self, name: str, dtype: Any, shape: Sequence[int | None] | None) -> GraphBuilder:
        """Add a graph input; ``None`` sizes are unknown, shape ``None`` is an unknown rank."""
        self.node("Placeholder", name, dtype=tf_type(dtype))
        value = self._attr("shape").shape
        if shape is None:
            value.unknown_rank = True
        else:
            value.SetInParent()
            for size in shape:
                value.dim.add(size=-1 if size is None else size)
        return self

    def const(self, name: str, value: Any, dtype: Any = None, kind: TfType | None = None) -> GraphBuilder:
        """Add a constant as ``tensor_content``; ``kind`` overrides the declared type (quantised types)."""
        array = np.asarray(value, dtype=dtype)
        self.raw_const(name, kind or tf_type(array.dtype), array.shape, tensor_content=array.tobytes())
        return self

    def raw_const(self, name: str, kind: TfType, shape: Sequence[int], **fields: Any) -> GraphBuilder:
        """Add a constant with the given proto fields (``float_val=[1.0]``, ``tensor_content=b"..."``)."""
        self.node("Const", name, dtype=kind)
        tensor = self._attr("value").tensor
        tensor.dtype = kind.value
        tensor.tensor_shape.SetInParent()
        for size in shape:
            tensor.tensor_shape.dim.add(size=size)
        for key, item in fields.items():
            if key == "tensor_content":
                tensor.tensor_content = item
            else:
                getattr(tensor, key).extend(item)
        return self

    def node(self, op: str, name: str, inputs: Sequence[str] = (), **attrs: AttrInput) -> GraphBuilder:
        """Add a node; attributes by Python type (numpy types and ``TfType`` become types, lists lists of integers)."""
        node = self.graph.node.add(name=name.encode(), op=op.encode())
        node.input.extend(i.encode() for i in inputs)
        for key, value in attrs.items():
            if value is None:
                continue
            target = self._attr(key)
            if isinstance(value, bool):
                target.b = value
            elif isinstance(value, int):
                target.i = value
            elif isinstance(value, float):
                target.f = value
            elif isinstance(value, (str, bytes)):
                target.s = value.encode() if isinstance(value, str) else value
            elif isinstance(value, (TfType, type)):
                target.type = tf_type(value).value
            else:
                target.list.SetInParent()
                target.list.i.extend(value)
        return self

    def bytes(self) -> bytes:
        """Return the serialised graph."""
        return bytes(self.graph.SerializeToString())

    def _attr(self, key: str) -> Any:
        entry = self.graph.node[-1].attr.add(key=key.encode())
        entry.value.SetInParent()
        return entry.value
