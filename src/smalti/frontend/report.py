"""What an import recognised, dropped and left out: a frozen record for people and for ``--json``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

NAMES_SHOWN = 8


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A graph input or output: the format's name and the type as text (``uint8[1, H, W, 3]``)."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class SizeLimit:
    """A size known only at run time: its range (``high=None``: no limit), and what it must be a multiple of."""

    symbol: str
    low: int
    high: int | None
    multiple: int = 1

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"symbol": self.symbol, "low": self.low, "high": self.high, "multiple": self.multiple}

    def to_text(self) -> str:
        """Return it as a line."""
        steps = f" in multiples of {self.multiple}" if self.multiple > 1 else ""
        return f"  size    {self.symbol} from {self.low} to {'any' if self.high is None else self.high}{steps}"


@dataclass(frozen=True, slots=True)
class DroppedAssert:
    """An assertion of the graph that is not compiled; ``holds`` is ``None`` when that depends on the run."""

    name: str
    holds: bool | None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Nodes a cut leaves out: how many, and the names of the first."""

    count: int
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ImportReport:
    """Facts about one import.

    Attributes:
        operations: the format's operations of the needed nodes, most frequent first.
        nodes_in_file: nodes of the file.
        nodes_used: nodes that the outputs need.
        inputs: graph inputs.
        outputs: graph outputs.
        limits: sizes known only at run time.
        dropped_asserts: assertions that are not compiled.
        recognised: pre- and post-processing found in the graph.
        before_inputs: nodes that only the given inputs replace.
        after_outputs: nodes that need the chosen outputs and are not compiled.
        notes: anything else worth knowing.
    """

    operations: tuple[tuple[str, int], ...]
    nodes_in_file: int
    nodes_used: int
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    limits: tuple[SizeLimit, ...]
    dropped_asserts: tuple[DroppedAssert, ...]
    recognised: tuple[str, ...]
    before_inputs: LeftOut
    after_outputs: LeftOut
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain lists and dictionaries."""
        return {
            "operations": dict(self.operations),
            "nodes_in_file": self.nodes_in_file,
            "nodes_used": self.nodes_used,
            "inputs": [{"name": t.name, "type": t.type} for t in self.inputs],
            "outputs": [{"name": t.name, "type": t.type} for t in self.outputs],
            "limits": [limit.to_json() for limit in self.limits],
            "dropped_asserts": [{"name": a.name, "holds": a.holds} for a in self.dropped_asserts],
            "recognised": list(self.recognised),
            "before_inputs": {"count": self.before_inputs.count, "names": list(self.before_inputs.names)},
            "after_outputs": {"count": self.after_outputs.count, "names": list(self.after_outputs.names)},
            "notes": list(self.notes),
        }

    def to_text(self) -> str:
        """Return the report as lines of text."""
        lines = [f"{self.nodes_used} of {self.nodes_in_file} nodes are needed"]
        lines += [f"  input   {t.name}  {t.type}" for t in self.inputs]
        lines += [f"  output  {t.name}  {t.type}" for t in self.outputs]
        lines += [limit.to_text() for limit in self.limits]
        lines.append("operations: " + ", ".join(f"{name} x{count}" for name, count in self.operations))
        lines += [f"recognised: {text}" for text in self.recognised]
        for title, left in (("before the inputs", self.before_inputs), ("after the outputs", self.after_outputs)):
            if left.count:
                more = ", ..." if left.count > len(left.names) else ""
                lines.append(f"left out {title}: {left.count} nodes ({', '.join(left.names)}{more})")
        if self.dropped_asserts:
            held = sum(1 for a in self.dropped_asserts if a.holds)
            total = len(self.dropped_asserts)
            lines.append(f"dropped {total} assertions ({held} hold for every image, {total - held} depend on the run)")
        lines += [f"note: {text}" for text in self.notes]
        return "\n".join(lines)


def left_out(names: list[str]) -> LeftOut:
    """Return the record for a list of node names."""
    return LeftOut(len(names), tuple(names[:NAMES_SHOWN]))
