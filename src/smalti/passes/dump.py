"""Writes the graph after every pass into a folder, for ``smalti build --dump-dir``."""

from __future__ import annotations

from pathlib import Path

from smalti.errors import OutputError
from smalti.ir.graph import Graph
from smalti.ir.text import to_text
from smalti.passes.pipeline import PassReport, histogram


class DumpDir:
    """An instrument of the pipeline that writes ``NN_pass.txt``: what the pass did, then the text form of the graph."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, number: int, graph: Graph, report: PassReport | None) -> None:
        """Write one file.

        Raises:
            OutputError: the folder cannot be written.
        """
        name = graph.level.value if report is None else report.name
        path = self._folder / f"{number:02d}_{name}.txt"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join([*header(graph, report), "", to_text(graph)]), encoding="utf-8")
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror}") from error


def header(graph: Graph, report: PassReport | None) -> list[str]:
    """Return the comment lines over a dumped graph: operations with their change, and the notes of the pass."""
    changes = {} if report is None else dict(report.difference)
    counts = histogram(graph)
    lines = [] if report is None else [f"# {report.name}: {report.why}", f"# {report.seconds * 1000:.1f} ms"]
    for op in sorted({*counts, *changes}):
        after = counts.get(op, 0)
        change = f" {changes[op]:+d} ({after - changes[op]}->{after})" if op in changes else f" {after}"
        lines.append(f"# {op}{change}")
    notes = () if report is None else report.notes
    return [*lines, *(f"# note: {note}" for note in notes)]
