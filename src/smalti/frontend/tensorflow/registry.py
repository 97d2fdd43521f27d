"""The table of TensorFlow operations the importer understands.

Each file ``ops_*.py`` fills it with handlers::

    @tf_op("Relu", inputs=1, types={"T": 0})
    def relu(ctx: NodeContext) -> Handled: ...
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from smalti.errors import CompilerError
from smalti.frontend.context import NodeContext
from smalti.frontend.values import Result

Handled = Result | tuple[Result, ...]
Handler = Callable[[NodeContext], Handled]


@dataclass(frozen=True, slots=True)
class OpEntry:
    """How one TensorFlow operation is imported.

    Attributes:
        name: TensorFlow's name of the operation.
        handler: turns a node into values.  It reads its attributes before its inputs, so that a bad attribute is
            reported even behind an unsupported node.
        inputs: least and largest number of data inputs.
        ignore: attributes that cannot change the result.
        types: attributes that must state the element type of an input: name to input number.
        note: limits, for the documentation.
        sees_special: the handler takes dead and unknown inputs itself.
    """

    name: str
    handler: Handler
    inputs: tuple[int, int]
    ignore: frozenset[str] = frozenset()
    types: Mapping[str, int] = field(default_factory=dict)
    note: str = ""
    sees_special: bool = False


_ENTRIES: dict[str, OpEntry] = {}
OPS: Mapping[str, OpEntry] = MappingProxyType(_ENTRIES)
"""All operations by name; complete once ``smalti.frontend.tensorflow.handlers`` is imported."""


def tf_op(
    *names: str,
    inputs: int | tuple[int, int],
    ignore: tuple[str, ...] = (),
    types: Mapping[str, int] | None = None,
    note: str = "",
    sees_special: bool = False,
) -> Callable[[Handler], Handler]:
    """Register a handler for operations; see :class:`OpEntry`."""
    span = (inputs, inputs) if isinstance(inputs, int) else inputs

    def register(handler: Handler) -> Handler:
        for name in names:
            if name in _ENTRIES:
                raise CompilerError(f"two handlers for {name}")
            _ENTRIES[name] = OpEntry(name, handler, span, frozenset(ignore), dict(types or {}), note, sees_special)
        return handler

    return register
