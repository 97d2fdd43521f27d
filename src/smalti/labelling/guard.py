"""A run must never write over what it reads, and says before the work what it could not write after it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from smalti.errors import UsageError
from smalti.jobs.places import check_places
from smalti.labelling.job import OVERLAY_FOLDER, REPORT_FILES, InferOptions, OutputSize, overlay_name
from smalti.vision.names import OutputNames
from smalti.vision.voc import Pictures, printable


def check_report(report: Path, inputs: Iterable[Path]) -> None:
    """Raise UsageError for a report of an unknown kind, in a folder's place, or in the place of an input."""
    if report.suffix.lower() not in (".json", ".csv"):
        raise UsageError(f"a report is .json or .csv, not {printable(report.name)}")
    check_places({"--report": report}, inputs)


def check_export(options: InferOptions) -> None:
    """Raise UsageError when annotation files are asked for that could not be made of the label maps."""
    kinds = options.export.kinds
    if kinds and not options.save_img:
        raise UsageError("annotations are made of the label maps: leave --save-img at true with --export")
    if kinds and options.output_size is not OutputSize.ORIGINAL:
        raise UsageError("annotations lie on the pictures: leave --output-size at original with --export")


def refuse_folders_that_are_files(output_dir: Path, options: InferOptions) -> None:
    """Raise UsageError when the overlays' folder is a file, or a report of the job is a folder."""
    overlays = output_dir / OVERLAY_FOLDER
    if options.overlay and os.path.lexists(overlays) and not overlays.is_dir():
        raise UsageError(f"{printable(str(overlays))} is not a folder: move it, or choose another --output-dir")
    for name in REPORT_FILES:
        if (output_dir / name).is_dir():
            raise UsageError(
                f"{printable(str(output_dir / name))} is a folder: the report cannot be written; move it, or "
                "choose another --output-dir"
            )


def refuse_picture_folder(
    pictures: Pictures, output_dir: Path, options: InferOptions, *, keeps_journal: bool = True
) -> None:
    """Raise UsageError when results would lie among the pictures of a folder: the next run would label them.

    A journal keeps the next run from looking into a sub-folder with results, but not from losing pictures there.
    """
    written = [output_dir] * options.save_img + [output_dir / OVERLAY_FOLDER] * options.overlay
    inner = {name.rpartition("/")[0] for name in pictures.names} if pictures.roots else set()
    results = {os.path.realpath(f"{folder}/{name}") for folder in written for name in inner}
    out = os.path.realpath(output_dir)
    for root in pictures.roots:
        folder = os.path.realpath(root)
        if not pictures.recursive:
            clash = folder in results
        elif _lies_in(out, folder) and out != folder and keeps_journal:
            clash = any(_lies_in(os.path.realpath(f"{pictures.folder}/{name}"), out) for name in inner)
        else:
            clash = any(_lies_in(result, folder) for result in results)
        if clash:
            raise UsageError(
                f"{printable(str(root))} is the folder of the pictures, and the next run would take the results "
                "for pictures: choose another --output-dir, or name the pictures with --file-list"
            )


def _lies_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


def refuse_own_pictures(pictures: Pictures, output_dir: Path, names: OutputNames, options: InferOptions) -> None:
    """Raise UsageError when a result would be written over one of the pictures, be it by way of links."""
    clash = _Guard(pictures, output_dir, names, options).written_picture()
    if clash is not None:
        raise UsageError(f"{printable(clash)} is one of the pictures to label: choose another --output-dir")


class _Guard:
    """Compares real folders and names; each folder is looked at once, and a single picture only when it is a link."""

    def __init__(self, pictures: Pictures, output_dir: Path, names: OutputNames, options: InferOptions) -> None:
        self._pictures = pictures
        self._names = names
        self._options = options
        self._real: dict[str, str] = {}
        self._written: dict[str, list[str]] = {}
        parents = {name.rpartition("/")[0] for name in pictures.names}
        if options.overlay:
            parents |= {overlay_name(f"{parent}/".lstrip("/")).rpartition("/")[0] for parent in parents}
        for parent in parents:
            self._written.setdefault(self._folder(f"{output_dir}/{parent}"), []).append(parent)

    def written_picture(self) -> str | None:
        """Return the path of a picture that would be overwritten, or None."""
        root = self._pictures.folder
        for index, name in enumerate(self._pictures.names):
            parent, _, base = name.rpartition("/")
            if self._is_written(self._folder(f"{root}/{parent}"), base) and self._pictures[index].folder is not None:
                return f"{root}/{name}"
        for index in self._pictures.links:
            path = os.path.realpath(f"{root}/{self._pictures.names[index]}")
            parent, _, base = path.rpartition("/")
            if self._is_written(parent or "/", base):
                return path
        return None

    def _folder(self, path: str) -> str:
        found = self._real.get(path)
        if found is None:
            found = self._real[path] = os.path.realpath(path)
        return found

    def _is_written(self, folder: str, base: str) -> bool:
        """Whether a result gets this name in this real folder."""
        return any(self._is_result(f"{parent}/{base}".lstrip("/")) for parent in self._written.get(folder, ()))

    def _is_result(self, name: str) -> bool:
        if self._options.save_img and self._names.find(name) is not None:
            return True
        before, after = overlay_name("\0").split("\0")
        if not self._options.overlay or not name.startswith(before) or not name.endswith(after):
            return False
        return self._names.find(f"{name[len(before) : -len(after)]}.png") is not None
