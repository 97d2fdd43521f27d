"""Makes the import report."""

from __future__ import annotations

from collections import Counter
from typing import Any

from smalti.frontend.format import RawGraph
from smalti.frontend.importing.evaluate import Evaluation
from smalti.frontend.raw import Edge, Role, topological_order
from smalti.frontend.report import DroppedAssert, ImportReport, SizeLimit, TensorInfo, left_out
from smalti.frontend.symbolic import MAX_SIDE
from smalti.ir import ops
from smalti.ir.dims import Symbol
from smalti.ir.graph import Graph, Node


def summarise(
    raw: RawGraph[Any], graph: Graph, evaluation: Evaluation, inputs: tuple[Edge, ...], outputs: tuple[Edge, ...]
) -> ImportReport:
    """Return the report of a finished import."""
    used = frozenset(evaluation.used)
    before: list[str] = []
    if any(raw.nodes[e[0]].role is not Role.INPUT for e in inputs):
        whole = topological_order(raw.nodes, [e[0] for e in outputs], frozenset(), with_controls=False)
        before = [raw.nodes[i].name for i in sorted(whole) if i not in used]
    symbols = graph.symbols()
    notes = [_size_note(symbols)] if symbols else []
    notes += [
        f"{s.name} must be a multiple of {s.multiple}: at other sizes the tensors of the graph do not fit each other"
        for s in symbols
        if s.multiple > 1
    ]
    counts = Counter(raw.nodes[i].label for i in used)
    return ImportReport(
        operations=tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0]))),
        nodes_in_file=len(raw.nodes),
        nodes_used=len(used),
        inputs=tuple(TensorInfo(n.name, str(n.type)) for n in graph.inputs),
        outputs=tuple(
            TensorInfo(name, str(node.type)) for name, node in zip(graph.output_names, graph.outputs, strict=True)
        ),
        limits=tuple(SizeLimit(s.name, s.low, s.high, s.multiple) for s in symbols),
        dropped_asserts=tuple(DroppedAssert(name, holds) for name, holds in evaluation.asserts.items()),
        recognised=tuple(_recognise(graph)),
        before_inputs=left_out(before),
        after_outputs=left_out(_after(raw, outputs)),
        notes=tuple(notes),
    )


def _size_note(symbols: tuple[Symbol, ...]) -> str:
    highs = ["any" if s.high is None else str(s.high) for s in symbols]
    if set(highs) == {"any"}:
        return f"accepts images of any size; sizes are computed exactly up to {MAX_SIDE} pixels a side"
    if [s.name for s in symbols] == ["H", "W"]:
        return f"accepts images up to {highs[0]} x {highs[1]}"
    return "accepts sizes up to " + ", ".join(f"{s.name} = {high}" for s, high in zip(symbols, highs, strict=True))


def _after(raw: RawGraph[Any], outputs: tuple[Edge, ...]) -> list[str]:
    """Return the nodes that read an output, directly or not."""
    reached = bytearray(len(raw.nodes))
    users: list[list[int]] = [[] for _ in raw.nodes]
    for node in raw.nodes:
        for below, _ in node.operands:
            users[below].append(node.index)
    pending = [e[0] for e in outputs]
    while pending:
        for user in users[pending.pop()]:
            if not reached[user]:
                reached[user] = 1
                pending.append(user)
    return [n.name for n in raw.nodes if reached[n.index]]


def _recognise(graph: Graph) -> list[str]:
    found: list[str] = []
    for node in graph.nodes():
        text = _fact(node)
        if text is not None and text not in found:
            found.append(text)
    pairs = sum(isinstance(n.op, ops.SpaceToBatch) for n in graph.nodes())
    if pairs:
        found.append(f"{pairs} space/batch pairs around convolutions (dilated convolutions)")
    return found


def _fact(node: Node) -> str | None:
    op = node.op
    if isinstance(op, ops.Pad) and node.type.rank in (3, 4):
        height, width = node.type.shape[-3:-1]
        if any(not isinstance(v, int) for pair in op.amounts for v in pair):
            return f"input padded to {height} x {width}"
    if isinstance(op, ops.ArgMax):
        return f"label map: argmax over {node.inputs[0].type.shape[op.axis]} classes"
    if isinstance(op, ops.Slice) and node.type.dtype.is_integer and any(not isinstance(s, int) for s in op.size):
        return "label map cut to the size of the image"
    if isinstance(op, ops.Resize) and op.fn is ops.ResizeFn.BILINEAR and node.type.rank == 4:
        return f"bilinear resize of {node.type.shape[3]} channels to {op.size[0]} x {op.size[1]}"
    return None
