"""Lets atheris look for bytes that make a target fail: ``python -m fuzz.guided TARGET SECONDS FOLDER SEED``.

New inputs and failures go to the folder; it starts from those there and from the corpus.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["smalti"]):
    from fuzz import targets


def main(name: str, seconds: int, folder: Path, seed: int) -> None:
    """Fuzz; ends the process."""
    target = targets.TARGETS[name]

    def one(data: bytes) -> None:
        target(data)

    limits = [f"-max_total_time={seconds}", f"-seed={seed % 2**31 or 1}", "-timeout=30"]
    seeds = [str(p) for p in (targets.CORPUS / name).iterdir()]
    more = ["-max_len=4096", "-print_final_stats=1", f"-artifact_prefix={folder}{os.sep}"]
    atheris.Setup([sys.argv[0], *limits, *more, str(folder), *seeds], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
