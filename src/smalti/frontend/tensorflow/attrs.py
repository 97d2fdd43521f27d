"""The attributes of a NodeDef: what the shared reader needs to know of them, and TensorFlow's own kinds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from smalti.errors import GraphError
from smalti.frontend.attributes import Attributes
from smalti.frontend.tensorflow.tensors import TfType, tf_type


class AttrReader(Attributes):
    """Reads the entries of ``NodeDef.attr``."""

    __slots__ = ()

    KINDS = ("s", "i", "f", "b", "type", "shape", "tensor", "list", "placeholder")

    def __init__(self, entries: Sequence[Any]) -> None:
        super().__init__((entry.key.decode("utf-8", "replace"), entry.value) for entry in entries)

    def kind(self, name: str, default: TfType | None = None) -> TfType:
        """Return a type attribute."""
        value = self._get(name, "type", default is None)
        if value is None and default is not None:
            return default
        try:
            return tf_type(int(value))
        except GraphError as error:
            raise GraphError(f"attribute {name}: {error}") from error

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Return the sizes of a shape (-1: open), or ``None`` when it is missing or has no rank."""
        message = self._get(name, "shape", False)
        return None if message is None or message.unknown_rank else tuple(int(d.size) for d in message.dim)

    def tensor(self, name: str) -> Any:
        """Return a tensor message."""
        return self._get(name, "tensor", True)

    def _holds(self, value: Any, kind: str) -> bool:
        return bool(value.HasField(kind))

    def _content(self, value: Any, kind: str) -> Any:
        return getattr(value, kind)

    def _ints(self, content: Any) -> Any | None:
        others = content.s or content.f or content.b or content.type or content.shape or content.tensor
        return None if not content.i and others else content.i

    def _is_annotation(self, name: str) -> bool:
        # ``_class``, ``_output_shapes``: TensorFlow's own tools write them.
        return name.startswith("_")
