"""Where archives come from: their publishers, or a mirror that holds files of the same names."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

from smalti.errors import FetchError, UsageError
from smalti.fetch.disk import open_plain, shown
from smalti.fetch.download import download_small
from smalti.fetch.registry import Archive
from smalti.fetch.transport import Policy, check_address

MANIFEST_NAME: Final = "SHA256SUMS"
_MAX_MANIFEST: Final = 2**20
_LINE: Final = re.compile(r"([0-9a-fA-F]{64}) [ *](.+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Mirror:
    """A folder or an http(s) address with archives directly in it. Exactly one of the two is set."""

    folder: Path | None
    address: str | None


def parse_mirror(text: str) -> Mirror:
    """Return the mirror that ``DIR`` or ``URL`` names. Raises UsageError."""
    if "://" in text:
        check_address(text)
        parts = urlsplit(text)
        if parts.query or parts.fragment:
            raise UsageError("the address of a mirror ends before any '?' or '#': leave out what follows")
        return Mirror(None, text.rstrip("/"))
    folder = Path(text).absolute()
    if not text or not os.path.isdir(folder):
        raise UsageError(f"there is no mirror folder {shown(text)!r}: give --mirror a folder or an https address")
    return Mirror(folder, None)


def source_of(mirror: Mirror | None, archive: Archive) -> str:
    """Return the path or address that ``archive`` is read from."""
    if mirror is None:
        return archive.address
    if mirror.folder is not None:
        return str(mirror.folder / archive.name)
    return f"{mirror.address}/{quote(archive.name)}"


def manifest_sha256(mirror: Mirror, name: str, policy: Policy | None = None) -> str | None:
    """Return the digest that the mirror's ``SHA256SUMS`` states for a file; None when the mirror has no such file.

    Raises:
        FetchError: the manifest cannot be read, is malformed, contradicts itself or does not name the file.
    """
    data = _manifest(mirror, policy)
    if data is None:
        return None
    found: set[str] = set()
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.rstrip())
        if match is None:
            raise FetchError(f"line {number} of the mirror's {MANIFEST_NAME} is not 'HEX  NAME'")
        if match[2].removeprefix("./") == name:
            found.add(match[1].lower())
    if len(found) != 1:
        problem = "does not name" if not found else "has two checksums for"
        raise FetchError(f"the mirror's {MANIFEST_NAME} {problem} {name}; state the checksum with --sha256")
    return found.pop()


def _manifest(mirror: Mirror, policy: Policy | None) -> bytes | None:
    if mirror.folder is None:
        return download_small(f"{mirror.address}/{MANIFEST_NAME}", max_bytes=_MAX_MANIFEST, policy=policy)
    path = mirror.folder / MANIFEST_NAME
    try:
        with open_plain(path) as file:
            data = file.read(_MAX_MANIFEST + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FetchError(f"cannot read {shown(path)}: {os.strerror(error.errno or 0)}") from error
    if len(data) > _MAX_MANIFEST:
        raise FetchError(f"{shown(path)} is longer than the {_MAX_MANIFEST} bytes allowed")
    return data
