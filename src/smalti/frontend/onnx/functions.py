"""The local functions of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from smalti.errors import GraphError
from smalti.frontend.onnx.attrs import Attribute, attribute_of
from smalti.frontend.onnx.opsets import domain_of, imported, operation
from smalti.frontend.onnx.plan import Plan, plan_function
from smalti.frontend.onnx.wire.tensors import Store
from smalti.frontend.onnx.wire.types import text_of
from smalti.frontend.words import shorten

Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Function:
    """A local function: its body, its attributes with their defaults (``None``: it has none), its operator sets."""

    plan: Plan
    attributes: Mapping[str, Attribute | None]
    opsets: Mapping[str, int]


@dataclass(slots=True)
class Functions:
    """The local functions of a model, each checked when it is called for the first time."""

    messages: Mapping[Key, Any]
    store: Store
    _made: dict[Key, Function] = field(default_factory=dict)

    def get(self, key: Key) -> Function | None:
        """Return a function, or ``None`` where the model has none of this name.

        Raises:
            GraphError: it is damaged; the text names it.
        """
        if key not in self.messages:
            return None
        found = self._made.get(key)
        if found is None:
            try:
                found = self._made[key] = self._function(self.messages[key])
            except GraphError as error:
                raise GraphError(f"the function {shorten(operation(*key[:2]))}: {error}") from error
        return found

    def _function(self, message: Any) -> Function:
        attributes: dict[str, Attribute | None] = {}
        for name in message.attribute:
            attributes[text_of(name, "the name of an attribute")] = None
        for entry in message.attribute_proto:
            name = text_of(entry.name, "the name of an attribute")
            try:
                attributes[name] = attribute_of(entry, self.store)
            except GraphError as error:
                raise GraphError(f"attribute {shorten(name)} {error}") from error
            if entry.HasField("g") or entry.graphs:
                raise GraphError(f"attribute {shorten(name)} is a graph, which is not supported for functions")
        return Function(plan_function(message, self.store), attributes, imported(message.opset_import))


def functions_of(messages: Any, store: Store) -> Functions:
    """Return the functions of a model.

    Raises:
        GraphError: a bad name, or two functions of one.
    """
    found: dict[Key, Any] = {}
    for message in messages:
        name = text_of(message.name, "the name of a function")
        key = (domain_of(message.domain), name, text_of(message.overload, "the name of a function's overload"))
        if key in found:
            raise GraphError(f"two functions are called {shorten(operation(*key[:2]))}")
        found[key] = message
    return Functions(found, store)
