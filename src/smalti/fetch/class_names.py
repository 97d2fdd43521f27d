"""The class names of what was exported, as a file in its folder: neither graphs nor masks say them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from smalti.errors import FetchError
from smalti.fetch.archive import UnpackedFile
from smalti.fetch.disk import disk_errors, shown, write_small
from smalti.fetch.stamp import read_stamp, stamped, write_stamp
from smalti.vision.classes import LABELS_FILE


def name_classes(root: Path, names: Sequence[str]) -> Path:
    """Write ``labels.txt``, one name a line, into an exported folder and its note, and return where it is.

    A folder of an earlier version gets the file now. One that the archive brought, or that somebody put there, is left
    as it is.

    Raises:
        FetchError: the disk refuses, or the folder is none of export's.
    """
    path = root / LABELS_FILE
    stamp = read_stamp(root)
    if stamp is None:
        raise FetchError(f"{shown(root)} has no note of what was exported there: export it again with --force")
    if any(file.path == LABELS_FILE for file in stamp.files):
        return path
    data = "".join(f"{name}\n" for name in names).encode()
    with disk_errors(path):
        found = path.read_bytes() if path.exists() else None
    if found is None:
        write_small(path, data)
    if found in (None, data):
        file = UnpackedFile(LABELS_FILE, len(data), hashlib.sha256(data).hexdigest())
        write_stamp(root, replace(stamp, files=(*stamp.files, *stamped(root, (file,)))))
    return path
