"""The nodes of a model's table.

Everything that makes a tensor is a node: operations, initialisers (as ``Constant``, whatever the file wrote) and
inputs.  What no operation of the file makes has the domain ``OWN_DOMAIN``:

``Input``
    an input of the model.
``BodyInput``
    what a node feeds into a body of its own (``Loop``, ``Scan``).
``IfTrue``, ``IfFalse``
    the beginning of a branch of an ``If``; reads the condition.  Everything in the branch waits for it (``controls``),
    and is dead where it is dead.
``If``
    the results of an ``If``: reads those of the first branch, then as many of the second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from smalti.frontend.onnx.attrs import Attribute
from smalti.frontend.onnx.opsets import OWN_DOMAIN
from smalti.frontend.onnx.wire.types import ValueType
from smalti.frontend.raw import Edge, RawNode

INPUT, BODY_INPUT, IF_TRUE, IF_FALSE, IF = "Input", "BodyInput", "IfTrue", "IfFalse", "If"


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """A graph that is an attribute of a node and no branch of an ``If``; its nodes are in the table.

    Attributes:
        inputs: what the node itself feeds (``BodyInput`` nodes).
        outputs: the tensors it gives back.
    """

    inputs: tuple[Edge, ...]
    outputs: tuple[Edge, ...]


@dataclass(frozen=True, slots=True, eq=False)
class OnnxNode(RawNode):
    """One node.

    Attributes:
        outputs: the names of its tensors, each unique in the table; empty for one that nobody asked for.
        given: what the file says of the type; of inputs alone.
    """

    outputs: tuple[str, ...] = ()
    given: ValueType | None = None

    @property
    def label(self) -> str:
        """The operation for messages, with its domain where that is not ONNX's own."""
        if self.domain == OWN_DOMAIN:
            return "If" if self.op in (IF_TRUE, IF_FALSE) else self.op
        return f"{self.domain}.{self.op}" if self.domain else self.op

    @property
    def held(self) -> Mapping[str, Attribute]:
        """The attributes by name: the message of an ONNX node."""
        found: Mapping[str, Attribute] = self.message
        return found

    def bodies(self) -> tuple[Body, ...]:
        """Return the graphs among the attributes."""
        return tuple(a.held for a in self.held.values() if isinstance(a.held, Body))
