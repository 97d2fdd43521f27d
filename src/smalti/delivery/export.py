"""Export: bring a known model or data set onto this machine."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from importlib.resources import files
from pathlib import Path
from typing import Any, BinaryIO, Final

from smalti import __version__
from smalti.demo.dataset import write_voc_layout
from smalti.errors import ArchiveError, FetchError, UsageError
from smalti.fetch.archive import UnpackedFile, unpack
from smalti.fetch.class_names import name_classes
from smalti.fetch.disk import disk_errors, file_sha256, locked_folder, open_plain, remove_any, shown, write_small
from smalti.fetch.download import download, wrong_checksum
from smalti.fetch.install import check_replaceable, fresh_folder, install
from smalti.fetch.mirror import Mirror, manifest_sha256, parse_mirror, source_of
from smalti.fetch.progress import Progress, Stage, silent
from smalti.fetch.registry import Archive, DatasetEntry, Embedded, ModelEntry, find_dataset, find_model
from smalti.fetch.stamp import (
    Stamp,
    first_change,
    is_sha256,
    read_checksums,
    read_stamp,
    record_checksum,
    stamped,
)
from smalti.fetch.transport import Policy

_DOWNLOADS: Final = ".smalti-downloads"
_TRAIN_PICTURES: Final = 40


class Trust(str, Enum):
    """What vouched for the bytes of an archive."""

    OPTION = "the option --sha256"
    MANIFEST = "the mirror's SHA256SUMS"
    REGISTRY = "the publisher's checksum"
    RECORDED = "the checksum recorded at the first export (another is accepted with --sha256 only)"
    FIRST_USE = "nobody: this was the first export, and its checksum is now recorded"
    PACKAGE = "this package"


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What to export.

    Attributes:
        model: name of a model of the registry.
        dataset: name of a data set of the registry.
        output_dir: folder that receives a folder for each; made where missing.
        mirror: folder or http(s) address that holds the archives under their published names; None: the publishers.
        sha256: digests in hex, each either alone or as ``NAME=HEX`` with the name of the model or data set.
        force: export again what is there already.
        progress: told how far the work is.
        policy: patience with the network.
        lock_patience: seconds to wait for another export into the same folder.
    """

    output_dir: Path
    model: str | None = None
    dataset: str | None = None
    mirror: str | None = None
    sha256: tuple[str, ...] = ()
    force: bool = False
    progress: Progress = silent
    policy: Policy = Policy()
    lock_patience: float = 3600.0


@dataclass(frozen=True, slots=True)
class ExportedItem:
    """One exported folder.

    Attributes:
        name: the model or data set.
        root: its folder.
        source: where it came from.
        sha256: digest of the archive in hex; of the graph or the file list for what comes with the package.
        trust: what vouched for that digest; for a cached folder, when it was made.
        archive_bytes: length of the archive (0 for what is drawn).
        was_cached: it was there already and unchanged, and nothing was done.
    """

    name: str
    root: Path
    source: str
    sha256: str
    trust: Trust
    archive_bytes: int
    was_cached: bool

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "name": self.name,
            "root": str(self.root),
            "source": self.source,
            "sha256": self.sha256,
            "trust": self.trust.name.lower(),
            "archive_bytes": self.archive_bytes,
            "was_cached": self.was_cached,
        }


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What an export made or found.

    Attributes:
        model, dataset: the exported folders; None for what was not asked for.
        graph: the frozen GraphDef.
        voc_root: folder with JPEGImages, SegmentationClass and ImageSets.
        val_list: file list of the val set.
        labels: file of the class names, of the model where there is one, else of the data set.
        seconds: wall time.
    """

    model: ExportedItem | None
    dataset: ExportedItem | None
    graph: Path | None
    voc_root: Path | None
    val_list: Path | None
    labels: Path | None
    seconds: float

    @property
    def items(self) -> tuple[ExportedItem, ...]:
        """The exported folders."""
        return tuple(item for item in (self.model, self.dataset) if item is not None)

    @property
    def was_cached(self) -> bool:
        """Whether nothing had to be done."""
        return all(item.was_cached for item in self.items)

    @property
    def bytes(self) -> int:
        """Length of all archives."""
        return sum(item.archive_bytes for item in self.items)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "model": self.model and self.model.to_json(),
            "dataset": self.dataset and self.dataset.to_json(),
            "graph": self.graph and str(self.graph),
            "voc_root": self.voc_root and str(self.voc_root),
            "val_list": self.val_list and str(self.val_list),
            "labels": self.labels and str(self.labels),
            "was_cached": self.was_cached,
            "bytes": self.bytes,
            "seconds": self.seconds,
        }


def export(options: ExportOptions) -> ExportResult:
    """Export a model, a data set or both into ``options.output_dir``, with the class names as ``labels.txt`` in each.

    A folder appears there whole or not at all. What is there already, from the same source and unchanged, is left
    alone without any network access. A folder that export did not make, or in which somebody put files, is never
    replaced.

    Raises:
        UsageError: an unknown name, a wrong option, or a folder in the way.
        FetchError: network, checksum or disk; a cut download is resumed by the next call.
        ArchiveError: the archive is damaged, unsafe, or not what the registry says.
        ResourceError: another export is still writing to the folder.
    """
    start = time.perf_counter()
    model = None if options.model is None else find_model(options.model)
    dataset = None if options.dataset is None else find_dataset(options.dataset)
    if model is None and dataset is None:
        raise UsageError("nothing to export: name a model or a data set")
    mirror = None if options.mirror is None else parse_mirror(options.mirror)
    stated = _stated_checksums(options)
    with locked_folder(options.output_dir, options.progress, options.lock_patience):
        model_item = None if model is None else _export_model(model, options, mirror, stated.get(model.name))
        dataset_item = None if dataset is None else _export_dataset(dataset, options, mirror, stated.get(dataset.name))
        done = (model_item, model), (dataset_item, dataset)
        named = [name_classes(item.root, entry.labels) for item, entry in done if item and entry]
    return ExportResult(
        model_item,
        dataset_item,
        graph=None if model is None or model_item is None else model_item.root / model.graph,
        voc_root=None if dataset_item is None else dataset_item.root,
        val_list=None if dataset is None or dataset_item is None else dataset_item.root / dataset.val_list,
        labels=named[0],
        seconds=time.perf_counter() - start,
    )


def _stated_checksums(options: ExportOptions) -> dict[str, str]:
    names = [name for name in (options.model, options.dataset) if name is not None]
    stated: dict[str, str] = {}
    for text in options.sha256:
        name, equals, digest = text.rpartition("=")
        if not equals:
            if len(names) != 1:
                raise UsageError("with a model and a data set, say whose checksum it is: NAME=HEX")
            name = names[0]
        if name not in names:
            raise UsageError(f"there is a checksum for {shown(name)!r}, which is not exported")
        if not is_sha256(digest.lower()):
            raise UsageError(f"{shown(digest)[:80]!r} is not a SHA-256: give 64 hexadecimal digits")
        if stated.setdefault(name, digest.lower()) != digest.lower():
            raise UsageError(f"there are two checksums for {shown(name)!r}")
    return stated


def _export_model(entry: ModelEntry, options: ExportOptions, mirror: Mirror | None, stated: str | None) -> ExportedItem:
    if isinstance(entry.source, Archive):
        return _Delivery(entry.name, entry.source, options, mirror, stated).run()
    _refuse_checksum(entry.name, stated)
    return _copy_embedded(entry.name, entry.source, entry.graph, options)


def _export_dataset(
    entry: DatasetEntry, options: ExportOptions, mirror: Mirror | None, stated: str | None
) -> ExportedItem:
    if isinstance(entry.source, Archive):
        return _Delivery(entry.name, entry.source, options, mirror, stated).run()
    _refuse_checksum(entry.name, stated)
    return _draw_dataset(entry.name, entry.source.folder, options)


def _refuse_checksum(name: str, stated: str | None) -> None:
    if stated is not None:
        raise UsageError(f"{name} comes with this package: there is no archive to state a checksum for")


class _Delivery:
    """Brings one archive and unpacks it."""

    def __init__(
        self, name: str, archive: Archive, options: ExportOptions, mirror: Mirror | None, stated: str | None
    ) -> None:
        self.name = name
        self.archive = archive
        self.options = options
        self.mirror = mirror
        self.stated = stated
        self.source = source_of(mirror, archive)
        self.root = options.output_dir / archive.folder

    def run(self) -> ExportedItem:
        found = None if self.options.force else _cached(self.name, self.root, self.source, self.stated)
        if found is not None:
            # An export that was killed just before its end may have left the archive.
            self._forget_download()
            return found
        check_replaceable(self.root)
        expected, trust = self._expected()
        with self._opened(expected, trust) as (file, sha256, length):
            stamp = self._unpack(file, sha256, length, trust)
        self._forget_download()
        return _item(self.root, stamp, was_cached=False)

    def _unpack(self, file: BinaryIO, sha256: str, length: int, trust: Trust) -> Stamp:
        with fresh_folder(self.options.output_dir) as folder:
            try:
                written = unpack(
                    file,
                    self.archive.name,
                    self.archive.folder,
                    folder,
                    self.archive.limits,
                    progress=self.options.progress,
                )
                self._check_content(written)
            except ArchiveError:
                # Another copy may be whole; this one never will be.
                self._forget_download()
                raise
            stamp = Stamp(self.name, self.source, sha256, length, trust.name, stamped(folder, written))
            # Before the folder appears: a folder that is there must never be trusted anew.
            record_checksum(self.options.output_dir, self.source, sha256)
            install(folder, self.root, stamp)
        return stamp

    def _check_content(self, written: tuple[UnpackedFile, ...]) -> None:
        there = {file.path for file in written if file.bytes}
        missing = [path for path in self.archive.required if path not in there]
        if missing:
            raise ArchiveError(f"{self.archive.name} has no {missing[0]} in {self.archive.folder}")

    def _expected(self) -> tuple[str | None, Trust]:
        """Return the digest that the archive must have, and who says so."""
        if self.stated is not None:
            return self.stated, Trust.OPTION
        if self.mirror is not None:
            sha256 = manifest_sha256(self.mirror, self.archive.name, self.options.policy)
            if sha256 is not None:
                return sha256, Trust.MANIFEST
        elif self.archive.sha256 is not None:
            return self.archive.sha256, Trust.REGISTRY
        recorded = read_checksums(self.options.output_dir).get(self.source)
        return recorded, Trust.FIRST_USE if recorded is None else Trust.RECORDED

    @contextmanager
    def _opened(self, expected: str | None, trust: Trust) -> Iterator[tuple[BinaryIO, str, int]]:
        """Yield the archive, open, with its digest and length; the digest is of these very bytes."""
        if self.mirror is not None and self.mirror.folder is not None:
            path = Path(self.source)
        else:
            path = self._downloaded(expected, trust)
        with disk_errors(path):
            file = open_plain(path)
        with file:
            limit = self.archive.limits.archive_bytes
            with disk_errors(path):
                size = os.fstat(file.fileno()).st_size
            if size > limit:
                raise FetchError(f"{shown(path)} with {size} bytes is longer than the {limit} bytes allowed")
            sha256, length = file_sha256(file, self.archive.name, self.options.progress, path)
            if expected is not None and sha256 != expected:
                raise wrong_checksum(self.source, sha256, expected, trust.value)
            yield file, sha256, length

    def _download_folder(self) -> Path:
        key = hashlib.sha256(os.fsencode(self.source)).hexdigest()[:16]
        return self.options.output_dir / _DOWNLOADS / key

    def _downloaded(self, expected: str | None, trust: Trust) -> Path:
        folder = self._download_folder()
        path = folder / self.archive.name
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            kept = path.is_file()
        if kept and expected is not None:
            with disk_errors(path), open(path, "rb") as file:
                sha256, _ = file_sha256(file, self.archive.name, self.options.progress, path)
            if sha256 == expected:
                return path
        elif kept and not self.options.force:
            return path
        download(
            self.source,
            path,
            max_bytes=self.archive.limits.archive_bytes,
            sha256=expected,
            vouched=trust.value,
            policy=self.options.policy,
            progress=self.options.progress,
        )
        return path

    def _forget_download(self) -> None:
        folder = self._download_folder()
        with disk_errors(folder):
            remove_any(folder)
            if folder.parent.is_dir() and not any(folder.parent.iterdir()):
                folder.parent.rmdir()


def _cached(name: str, root: Path, source: str, sha256: str | None) -> ExportedItem | None:
    stamp = read_stamp(root)
    if stamp is None or stamp.name != name or stamp.source != source or stamp.trust not in Trust.__members__:
        return None
    if sha256 is not None and stamp.sha256 != sha256:
        return None
    return None if first_change(root, stamp) is not None else _item(root, stamp, was_cached=True)


def _item(root: Path, stamp: Stamp, *, was_cached: bool) -> ExportedItem:
    return ExportedItem(
        stamp.name, root, stamp.source, stamp.sha256, Trust[stamp.trust], stamp.archive_bytes, was_cached
    )


def _copy_embedded(name: str, source: Embedded, graph: str, options: ExportOptions) -> ExportedItem:
    label = f"package {source.package}/{source.resource}"
    try:
        data = files(source.package).joinpath(source.resource).read_bytes()
    except OSError as error:
        raise FetchError(f"{label} cannot be read: the installation is damaged; install Smalti again") from error
    sha256 = hashlib.sha256(data).hexdigest()
    root = options.output_dir / name
    found = None if options.force else _cached(name, root, label, sha256)
    if found is not None:
        return found
    check_replaceable(root)
    with fresh_folder(options.output_dir) as folder:
        write_small(folder / graph, data)
        written = (UnpackedFile(graph, len(data), sha256),)
        stamp = Stamp(name, label, sha256, len(data), Trust.PACKAGE.name, stamped(folder, written))
        install(folder, root, stamp)
    return _item(root, stamp, was_cached=False)


def _draw_dataset(name: str, folder_name: str, options: ExportOptions) -> ExportedItem:
    label = f"drawn by smalti {__version__}"
    root = options.output_dir / folder_name
    found = None if options.force else _cached(name, root, label, None)
    if found is not None:
        return found
    check_replaceable(root)
    with fresh_folder(options.output_dir) as folder:
        options.progress(Stage.GENERATE, name, 0, None)
        with disk_errors(folder):
            write_voc_layout(folder, train_count=_TRAIN_PICTURES)
            paths = sorted(path for path in folder.rglob("*") if path.is_file())
            contents = [(path.relative_to(folder).as_posix(), path.read_bytes()) for path in paths]
        written = tuple(UnpackedFile(path, len(data), hashlib.sha256(data).hexdigest()) for path, data in contents)
        listing = "".join(f"{file.sha256}  {file.path}\n" for file in written)
        sha256 = hashlib.sha256(listing.encode()).hexdigest()
        stamp = Stamp(name, label, sha256, 0, Trust.PACKAGE.name, stamped(folder, written))
        install(folder, root, stamp)
    return _item(root, stamp, was_cached=False)
