"""Object code that several tests need is made once in a run.

The same network is built by dozens of tests, and LLVM takes nearly all of that time. It gives the same bytes for the
same text, target and options, which tests of ``llvm.backend`` and builds in fresh processes hold it to; neither goes
through here. Everything else of a build is done anew each time.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from smalti.llvm.backend import emit_object
from smalti.target.target import Target


@dataclass(frozen=True, slots=True)
class SharedObjects:
    """In place of ``emit_object``: keeps what it returns in ``folder``, which the workers of a run share."""

    folder: Path

    def __call__(self, module_text: str, target: Target) -> bytes:
        key = hashlib.sha256(f"{target!r}\n{module_text}".encode()).hexdigest()
        path = self.folder / key
        if path.exists():
            return path.read_bytes()
        made = emit_object(module_text, target)
        # Another worker may be writing the same object: each writes a file of its own, and the last one stays.
        own = self.folder / f"{key}.{os.getpid()}"
        own.write_bytes(made)
        own.replace(path)
        return made
