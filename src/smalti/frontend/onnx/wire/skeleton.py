"""A model without the values of its tensors: small, counted, and of known fields alone, so that it can be parsed.

A parsed field takes up to fifty times its bytes, and files may hold two billion bytes of fields.  So the bytes are
walked first, without making anything of them: what the walk does not know or need is left out, values of tensors stay
where they are and only their place is noted, and what is left is counted against limits.  The walk goes down as deep as
graphs may stand in each other and no deeper.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf.message import DecodeError

from smalti.errors import GraphError
from smalti.frontend.budget import GraphLimits
from smalti.frontend.onnx.wire.messages import BYTES, CUT, I32, I64, MESSAGES, VARINT, FieldRule, Model, wire_of

MAX_NESTED = 16
"""Graphs within graphs: branches of an ``If`` in a branch of an ``If``..."""
MOST_FIELDS = 4_000_000
_FREE_FIELDS, _BYTES_A_FIELD = 2_000_000, 16
_DAMAGED = "not an ONNX model: the bytes do not parse as protobuf; give the .onnx file as its exporter wrote it"
_CUT_SHORT = "the ONNX file ends in the middle of its graph: the copy or the download was cut; fetch or export it again"
_TOO_MANY = "the file has more fields for its size than a model that an exporter wrote; export the network again"
_VARINT_BYTES = 10

_KEEP, _COUNT, _MARK, _VALUES = 1, 2, 3, 4


def _rules(fields: tuple[FieldRule, ...]) -> dict[int, int | str]:
    """Return what to do with each tag: keep it, keep and count its numbers, empty it, note its place, or go into it."""
    found: dict[int, int | str] = {}
    for rule in fields:
        if rule.number == CUT:
            continue
        wire = wire_of(rule.kind)
        found[rule.number << 3 | wire] = rule.kind if rule.kind in MESSAGES else _KEEP
        if rule.kind == "mark":
            found[rule.number << 3 | BYTES] = _MARK
        elif rule.values:
            found[rule.number << 3 | BYTES] = _VALUES
        elif rule.repeated and wire != BYTES:
            found[rule.number << 3 | BYTES] = _COUNT
    return found


_RULES: dict[str, dict[int, int | str]] = {name: _rules(fields) for name, fields in MESSAGES.items()}


def parse_model(data: bytes, limits: GraphLimits) -> Any:
    """Parse the bytes of a model, but for the values of its tensors.

    Returns:
        The ``Model`` message.  Its tensors have ``cut`` where values stand in ``data`` (raw bytes, packed numbers);
        numbers that are written one by one are in their own fields.

    Raises:
        GraphError: the bytes are no ONNX model, or over a limit.
    """
    if len(data) > limits.max_bytes:
        raise GraphError(f"the graph has {len(data)} bytes; the limit is {limits.max_bytes} (--max-graph-bytes)")
    walk = _Walk(data, limits.max_nodes)
    pieces = walk.message(0, len(data), "Model", 0)
    model = Model()
    try:
        model.ParseFromString(data if pieces is None else b"".join(pieces))
    except (DecodeError, ValueError) as error:
        raise GraphError(_DAMAGED) from error
    return model


class _Walk:
    """Goes over the bytes once."""

    __slots__ = ("_data", "_fields", "_left", "_most", "_view")

    def __init__(self, data: bytes, most_nodes: int) -> None:
        self._data = data
        self._view = memoryview(data)
        self._most = most_nodes
        self._left = {"Node": most_nodes, "Tensor": most_nodes}
        self._fields = min(MOST_FIELDS, _FREE_FIELDS + len(data) // _BYTES_A_FIELD)

    def message(self, at: int, end: int, name: str, graphs: int) -> list[bytes | memoryview] | None:
        """Return a message in pieces, or ``None`` where it stays as it is."""
        if name in self._left:
            self._count(name)
        elif name == "Graph":
            graphs += 1
            if graphs > MAX_NESTED:
                raise GraphError(f"more than {MAX_NESTED} graphs stand in each other, as branches of nodes")
        data, rules = self._data, _RULES[name]
        pieces: list[bytes | memoryview] | None = None
        kept = at
        while at < end:
            field = at
            tag = data[at]
            at += 1
            if tag > 127:
                tag, at = self._varint(field, end)
            wire = tag & 7
            length = 0
            if wire == BYTES:
                if at >= end:
                    raise GraphError(_DAMAGED)
                length = data[at]
                at += 1
                if length > 127:
                    length, at = self._varint(at - 1, end)
            elif wire == VARINT:
                _, at = self._varint(at, end)
            elif wire == I32:
                length = 4
            elif wire == I64:
                length = 8
            else:
                raise GraphError(_DAMAGED)
            body, at = at, at + length
            if at > end:
                raise GraphError(_CUT_SHORT if name == "Model" and tag >> 3 == 7 else _DAMAGED)
            rule = rules.get(tag)
            # A list counts as if every number of it had one byte: the parser takes eight for each, and time.
            self._fields -= 1 + length if rule == _COUNT else 1
            if self._fields < 0:
                raise GraphError(_TOO_MANY)
            if rule in (_KEEP, _COUNT):
                continue
            changed = self._changed(rule, tag, body, at, graphs)
            if changed is None:
                continue
            if pieces is None:
                pieces = []
            if kept < field:
                pieces.append(self._view[kept:field])
            pieces += changed
            kept = at
        if pieces is not None and kept < end:
            pieces.append(self._view[kept:end])
        return pieces

    def _changed(
        self, rule: int | str | None, tag: int, body: int, end: int, graphs: int
    ) -> Sequence[bytes | memoryview] | None:
        """Return what stands for a field, nothing for one that is left out; ``None`` where it stays as it is."""
        if rule is None:
            if tag < 8:
                raise GraphError(_DAMAGED)
            return ()
        if rule == _MARK:
            return [_encoded(tag), b"\0"]
        if rule == _VALUES:
            place = b"\x08" + _encoded(tag >> 3) + b"\x10" + _encoded(body) + b"\x18" + _encoded(end - body)
            return [_encoded(CUT << 3 | BYTES), _encoded(len(place)), place]
        inner = self.message(body, end, str(rule), graphs)
        if inner is None:
            return None
        return [_encoded(tag), _encoded(sum(len(piece) for piece in inner)), *inner]

    def _count(self, name: str) -> None:
        self._left[name] -= 1
        if self._left[name] < 0:
            what = f"{name.lower()}s than the limit{'' if name == 'Node' else ' of nodes'}"
            raise GraphError(f"the graph has more {what}, {self._most} (--max-graph-nodes)")

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        """Return a number and the position behind it."""
        data = self._data
        value = shift = 0
        stop = min(end, at + _VARINT_BYTES)
        while at < stop:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value, at
            shift += 7
        raise GraphError(_DAMAGED)


def _encoded(value: int) -> bytes:
    """Return a number as protobuf writes it."""
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)
