"""Go all walks of a new user and read them: ``python -m walks [NAME...] [--environment DIR] [--mirror DIR]``.

Without ``--environment`` a copy of the repository gets one by the README's first command. A transcript of every walk
is written, in a terminal and with the output in a pipe; what must hold of them is checked, and the rest is for a person
to read.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from walks import reading
from walks.pages import ROOT, line
from walks.runner import Seen, Way, go, transcript
from walks.shell import Answer, Place
from walks.tours import Walk, walks

WIDE = 240
TERMINAL_COLUMNS = "80,60"
FIRST = "first"
# They would give the walks another package, or another Python, than their environment has.
OF_PYTHON = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")


def main() -> int:
    """Go the walks that the command line asks for; 1 when something does not hold."""
    parser = argparse.ArgumentParser(prog="walk", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="walks to go (default: all)")
    parser.add_argument("--environment", type=Path, help="a virtual environment with the product; default: a new one")
    parser.add_argument("--mirror", type=Path, help="folder with the archives of the real model and its data")
    parser.add_argument("--output", type=Path, default=ROOT / "output" / "walks", help="folder of the transcripts")
    parser.add_argument("--columns", default=TERMINAL_COLUMNS, help=f"widths of terminals ({TERMINAL_COLUMNS})")
    arguments = parser.parse_args()
    every = walks(None if arguments.mirror is None else str(arguments.mirror.resolve()))
    chosen = [walk for walk in every if not arguments.names or walk.name in arguments.names]
    if unknown := sorted({*arguments.names} - {walk.name for walk in every}):
        parser.error(f"there is no walk {', '.join(unknown)}; the walks are {', '.join(walk.name for walk in every)}")
    output = arguments.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    columns = [int(word) for word in arguments.columns.split(",")]
    with tempfile.TemporaryDirectory(prefix="walks-") as folder:
        work = Path(folder)
        variables = {name: value for name, value in os.environ.items() if name not in OF_PYTHON}
        first = () if arguments.environment else _first(work / "clone", output, variables, columns[0])
        environment = arguments.environment or work / "clone" / ".venv"
        variables["PATH"] = os.pathsep.join([str(environment.absolute() / "bin"), os.environ["PATH"]])
        foreign = _foreign(variables)
        wrong = reading.faults(first, foreign=foreign)
        for walk in chosen:
            wrong += _walk(walk, work, output, variables, columns, foreign)
    sys.stdout.write("\n".join(wrong or ["all that must hold of the transcripts holds"]) + "\n")
    return 1 if wrong else 0


def _first(clone: Path, output: Path, variables: Mapping[str, str], columns: int) -> tuple[Answer, ...]:
    """Copy the repository and give the README's first command there, which makes the environment."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, clone / name)
    # The installer's own words, about indexes and the like, are not ours to fit.
    way = Way({**variables, "PIP_QUIET": "3"}, Place.TERMINAL, columns)
    walk = Walk(FIRST, "the README's first command in a fresh clone", (line("README.md", "bash run.sh"),))
    seen = go(walk, clone, way)
    _write(walk, seen, way, output)
    return seen.done


def _walk(
    walk: Walk, work: Path, output: Path, variables: Mapping[str, str], columns: Sequence[int], foreign: set[str]
) -> list[str]:
    """Go a walk in wide lines, in each terminal and in a pipe, and return what does not hold."""
    ways = [Way(variables, Place.PIPE, WIDE), *(Way(variables, Place.TERMINAL, width) for width in columns)]
    ways += [] if walk.is_real else [Way(variables, Place.PIPE, columns[0])]
    known: set[str] = set()
    wrong = []
    for way in ways:
        folder = work / f"{walk.name}-{way.name}"
        seen = go(walk, folder, way)
        _write(walk, seen, way, output)
        shutil.rmtree(folder)
        if way.columns == WIDE:
            known = reading.vocabulary(seen.done)
            continue
        names = () if walk.is_real else foreign
        found = reading.faults(seen.done, foreign=names, known=known) + reading.refusals(seen.refused)
        wrong += [f"{walk.name}, {way.name}: {text}" for text in found]
    return wrong


def _write(walk: Walk, seen: Seen, way: Way, output: Path) -> None:
    path = output / f"{walk.name}.{way.name}.txt"
    path.write_text(transcript(walk.about, seen, way), encoding="utf-8")
    sys.stdout.write(f"{path}\n")
    sys.stdout.flush()


def _foreign(variables: Mapping[str, str]) -> set[str]:
    """Ask the product under test for the class names of VOC that the demo does not have."""
    asked = (
        "from smalti.demo.generator import CLASS_NAMES\nfrom smalti.vision.palette import VOC_LABELS\n"
        "print(*set(VOC_LABELS) - set(CLASS_NAMES))"
    )
    words = ["bash", "-c", 'exec python -c "$0"', asked]
    done = subprocess.run(words, env=variables, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


if __name__ == "__main__":
    sys.exit(main())
