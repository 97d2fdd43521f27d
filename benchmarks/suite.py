"""All tables of engines beside each other, one after another: ``python -m benchmarks.suite --full PB --half PB ...``.

Each table is one run of :mod:`benchmarks.peers`, and says its command; this one makes them all and writes one page.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from benchmarks import peers
from benchmarks.output import positive
from smalti.quant.modes import QuantMode

NATIVE = "native"


@dataclass(frozen=True, slots=True)
class Setting:
    """One table: which graph, in which mode, with how many threads, on images of which size."""

    graph: Path
    mode: QuantMode
    threads: int
    size: str = "513"

    @property
    def file(self) -> str:
        """A name for its JSON."""
        return f"{self.graph.parent.name or self.graph.stem}-{self.mode.alias}-{self.size}-{self.threads}.json"


def settings(full: Path | None, half: Path | None, any_size: Path | None, threads: int) -> list[Setting]:
    """Return the tables for the graphs that are there: float32 with all threads and with one, then other modes."""
    counts = list(dict.fromkeys((threads, 1)))
    found = [Setting(g, QuantMode.FORCE_FLOAT32, n) for g in (full, half) if g is not None for n in counts]
    if any_size is not None:
        found += [Setting(any_size, QuantMode.FORCE_FLOAT32, n, NATIVE) for n in counts]
    if full is not None:
        found += [Setting(full, QuantMode.FORCE_BFLOAT16, n) for n in counts]
        found += [Setting(full, QuantMode.QINT8_MIXED_FLOAT16, n) for n in counts]
    return found


def arguments_of(setting: Setting, chosen: argparse.Namespace) -> list[str]:
    """Return the arguments of :mod:`benchmarks.peers` for one table."""
    said = ["--tf-model", str(setting.graph), "--image-dir", str(chosen.image_dir)]
    said += [] if chosen.file_list is None else ["--file-list", str(chosen.file_list)]
    said += ["--quant-mode", setting.mode.value, "--input-size", setting.size, "--threads", str(setting.threads)]
    if setting.mode.quantised is not None:
        said += ["--calib-list", str(chosen.calib_list), "--calib-num", str(chosen.calib_num)]
    said += ["--rounds", str(chosen.rounds), "--markdown", str(chosen.markdown)]
    return said if chosen.json_dir is None else [*said, "--json", str(chosen.json_dir / setting.file)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Make every table.  0: all have a peer to compare with; else the largest code of a run."""
    chosen = _parser().parse_args(arguments)
    if chosen.json_dir is not None:
        chosen.json_dir.mkdir(parents=True, exist_ok=True)
    chosen.markdown.parent.mkdir(parents=True, exist_ok=True)
    chosen.markdown.write_text("", encoding="utf-8")
    log = Console(stderr=True)
    worst = 0
    wanted = settings(chosen.full, chosen.half, chosen.any_size, chosen.threads)
    for number, setting in enumerate(wanted, 1):
        if setting.mode.quantised is not None and chosen.calib_list is None:
            log.print(f"{setting.mode.value} is left out: give --calib-list", highlight=False)
            continue
        log.print(f"table {number} of {len(wanted)}: {setting.file.removesuffix('.json')}", highlight=False)
        worst = max(worst, peers.main(arguments_of(setting, chosen)))
    return worst


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.suite", description="Every table of Smalti beside other engines, into one page."
    )
    add = parser.add_argument
    add("--full", type=Path, help="full-width graph, takes 513 x 513 (.pb)")
    add("--half", type=Path, help="half-width graph, takes 513 x 513 (.pb)")
    add("--any-size", type=Path, help="graph without a size limit (.pb)")
    add("--image-dir", type=Path, required=True, help="folder of pictures, or a VOC root")
    add("--file-list", type=Path, help="pictures to label, one a line")
    add("--calib-list", type=Path, help="pictures to calibrate on, one a line; without it int8 is left out")
    add("--calib-num", type=positive, default=100, help="only the first so many of them (default 100)")
    add("--threads", type=positive, default=2, help="threads (default 2); one thread is measured, too")
    add("--rounds", type=positive, default=20, help="rounds (default 20)")
    add("--markdown", type=Path, required=True, help="page to write")
    add("--json-dir", type=Path, help="folder for the reports")
    return parser


if __name__ == "__main__":
    sys.exit(main())
