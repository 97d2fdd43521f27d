"""Exports: what lands where, what a second one does, and that nothing half-done has a final name."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fast.http_server import Exchange, Server, cut, good, running_server, stall, status
from shared_data import shared_dir
from smalti.delivery.export import ExportOptions, ExportResult, Trust, export
from smalti.demo.generator import CLASS_NAMES
from smalti.errors import ArchiveError, FetchError, ResourceError, SmaltiError, UsageError
from smalti.fetch import archive as archive_module
from smalti.fetch import disk as disk_module
from smalti.fetch import download as download_module
from smalti.fetch.progress import Stage
from smalti.fetch.registry import DATASETS, DEMO_LABELS, MODELS, VOC_LABELS, Archive, find_dataset, find_model
from smalti.fetch.stamp import CHECKSUMS_NAME, STAMP_NAME
from smalti.fetch.transport import Policy
from smalti.vision.classes import LABELS_FILE, Classes, read_classes

FULL = "deeplabv3_mnv2_pascal_train_aug"
HALF = "deeplabv3_mnv2_dm05_pascal_trainval"
FULL_ARCHIVE = f"{FULL}_2018_01_29.tar.gz"
GRAPH_NAME = "frozen_inference_graph.pb"
PATIENT = Policy(connect_timeout=2, read_timeout=10, attempts=2, backoff=0.01, max_wait=0.05)


def model_archive(graph: bytes = b"graph " * 1000, name: str = GRAPH_NAME, folder: str = FULL) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, data in ((f"{folder}/{name}", graph), (f"{folder}/model.ckpt.index", b"index")):
            info = tarfile.TarInfo(path)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return gzip.compress(buffer.getvalue(), mtime=0)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    folder = tmp_path / "mirror"
    folder.mkdir()
    (folder / FULL_ARCHIVE).write_bytes(model_archive())
    return folder


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with running_server() as running:
        yield running


def run(out: Path, mirror: Path | str, *checksums: str, model: str = FULL, force: bool = False) -> ExportResult:
    return export(ExportOptions(out, model, mirror=str(mirror), sha256=checksums, force=force, policy=PATIENT))


def everything(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_registry() -> None:
    for entry in MODELS:
        assert find_model(entry.name) is entry
        assert find_dataset(entry.dataset).labels == entry.labels
        assert (entry.inputs, entry.outputs) == (("ImageTensor:0",), ("SemanticPredictions:0",))
        if isinstance(entry.source, Archive):
            assert entry.source.address == "http://download.tensorflow.org/models/" + entry.source.name
            assert entry.source.sha256 is None
    voc = find_dataset("voc2012").source
    assert isinstance(voc, Archive)
    assert voc.address == "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar"
    assert len(VOC_LABELS) == 21 and VOC_LABELS[0] == "background" and VOC_LABELS[15] == "person"
    assert DEMO_LABELS == CLASS_NAMES
    assert len(DATASETS) == 2
    with pytest.raises(UsageError, match=f"known are {FULL}, {HALF}, demo"):
        find_model("resnet")
    with pytest.raises(UsageError, match="known are voc2012, demo"):
        find_dataset("coco")


def test_first_export_from_a_folder(mirror: Path, tmp_path: Path) -> None:
    seen: set[Stage] = set()
    options = ExportOptions(tmp_path / "a/b", FULL, mirror=str(mirror), progress=lambda stage, *_: seen.add(stage))
    result = export(options)
    assert result.graph == tmp_path / "a/b" / FULL / GRAPH_NAME
    assert result.graph.read_bytes() == b"graph " * 1000
    assert result.dataset is None and result.voc_root is None and result.val_list is None
    assert result.model is not None and result.model.trust is Trust.FIRST_USE
    assert result.model.sha256 == sha256(model_archive()) and result.bytes == len(model_archive())
    assert not result.was_cached and result.seconds > 0
    written = (STAMP_NAME, GRAPH_NAME, LABELS_FILE, "model.ckpt.index")
    assert everything(tmp_path / "a/b") == sorted([CHECKSUMS_NAME, FULL, *(f"{FULL}/{name}" for name in written)])
    assert seen == {Stage.VERIFY, Stage.UNPACK}
    assert result.labels == result.graph.parent / LABELS_FILE
    assert read_classes(result.labels) == Classes(VOC_LABELS)
    assert json.loads(json.dumps(result.to_json()))["model"]["trust"] == "first_use"


def test_second_export_does_nothing(mirror: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(out, mirror)
    before = snapshot(out)
    shutil.rmtree(mirror)
    mirror.mkdir()
    again = run(out, mirror)
    assert again.was_cached and snapshot(out) == before


def test_force_and_another_source_export_again(mirror: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(out, mirror)
    assert not run(out, mirror, force=True).was_cached
    other = tmp_path / "other"
    other.mkdir()
    (other / FULL_ARCHIVE).write_bytes(model_archive(b"another"))
    result = run(out, other)
    assert not result.was_cached and result.graph is not None and result.graph.read_bytes() == b"another"


@pytest.mark.parametrize("harm", ["removed", "shorter", "same-length", "no-stamp-entry"])
def test_changed_output_is_exported_again(harm: str, mirror: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    graph = run(out, mirror).graph
    assert graph is not None
    data = graph.read_bytes()
    if harm == "removed":
        graph.unlink()
    elif harm == "shorter":
        graph.write_bytes(data[:-1])
    elif harm == "same-length":
        graph.write_bytes(data[:-1] + b"!")
    else:
        stamp = out / FULL / STAMP_NAME
        stamp.write_text(stamp.read_text().replace('"files": [[', '"files": [["absent", 1, 1, "' + "0" * 64 + '"], ['))
    result = run(out, mirror)
    assert not result.was_cached and graph.read_bytes() == data
    assert run(out, mirror).was_cached


def test_a_copied_folder_still_counts(mirror: Path, tmp_path: Path) -> None:
    graph = run(tmp_path / "out", mirror).graph
    assert graph is not None
    os.utime(graph, (1, 1))
    assert run(tmp_path / "out", mirror).was_cached


def test_what_export_did_not_make_is_never_replaced(mirror: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / FULL).mkdir(parents=True)
    run(out, mirror)
    own = out / FULL / "notes.txt"
    own.write_text("mine")
    assert run(out, mirror).was_cached
    with pytest.raises(UsageError, match=r"notes\.txt in it is not from export"):
        run(out, mirror, force=True)
    own.unlink()
    (out / FULL / STAMP_NAME).write_text("{}")
    with pytest.raises(UsageError, match="was not made by export"):
        run(out, mirror)
    assert (out / FULL / GRAPH_NAME).is_file()
    shutil.rmtree(out / FULL)
    (out / FULL).write_text("a file")
    with pytest.raises(UsageError, match="is no folder"):
        run(out, mirror)
    (out / FULL).unlink()
    (out / FULL).symlink_to(tmp_path)
    with pytest.raises(UsageError, match="is no folder"):
        run(out, mirror)
    with pytest.raises(UsageError, match="is not a folder"):
        run(mirror / FULL_ARCHIVE, mirror)


def test_checksum_of_the_option(mirror: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    good_one = sha256(model_archive())
    with pytest.raises(FetchError, match=f"{good_one}, but the option --sha256 states {'0' * 64}"):
        run(out, mirror, "0" * 64)
    assert everything(out) == [] and (mirror / FULL_ARCHIVE).is_file()
    assert run(out, mirror, good_one.upper()).items[0].trust is Trust.OPTION
    assert run(out, mirror, f"{FULL}={good_one}").was_cached
    with pytest.raises(FetchError, match="states"):
        run(out, mirror, "0" * 64)
    assert (out / FULL / GRAPH_NAME).is_file()


@pytest.mark.parametrize(
    ("checksums", "text"),
    [
        (("12",), "is not a SHA-256"),
        (("g" * 64,), "is not a SHA-256"),
        (("voc2012=" + "0" * 64,), "which is not exported"),
        (("0" * 64, "1" * 64), "two checksums"),
    ],
)
def test_checksums_that_cannot_be(checksums: tuple[str, ...], text: str, mirror: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=text):
        run(tmp_path / "out", mirror, *checksums)


def test_checksum_must_say_what_it_is_for(mirror: Path, tmp_path: Path) -> None:
    options = ExportOptions(tmp_path / "out", FULL, "voc2012", str(mirror), sha256=("0" * 64,))
    with pytest.raises(UsageError, match="NAME=HEX"):
        export(options)
    with pytest.raises(UsageError, match="nothing to export"):
        export(ExportOptions(tmp_path / "out"))
    with pytest.raises(UsageError, match="comes with this package"):
        export(ExportOptions(tmp_path / "out", "demo", sha256=("0" * 64,)))


@pytest.mark.parametrize("form", ["{0}  {1}", "{0} *{1}", "# sums\n\n{0}  ./{1}\r\n", "{2}  other\n{0}  {1}\n"])
def test_manifest_of_a_mirror(form: str, mirror: Path, tmp_path: Path) -> None:
    (mirror / "SHA256SUMS").write_text(form.format(sha256(model_archive()), FULL_ARCHIVE, "0" * 64))
    assert run(tmp_path / "out", mirror).items[0].trust is Trust.MANIFEST


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{'0' * 64}  {FULL_ARCHIVE}", "the mirror's SHA256SUMS states 0000"),
        (f"{'0' * 64}  other", "does not name"),
        (f"{'0' * 64}  {FULL_ARCHIVE}\n{'1' * 64}  {FULL_ARCHIVE}", "has two checksums"),
        ("nonsense", "line 1 of the mirror's SHA256SUMS"),
        ("x" * (2**20 + 1), "is longer than"),
    ],
)
def test_manifest_that_does_not_fit(text: str, message: str, mirror: Path, tmp_path: Path) -> None:
    (mirror / "SHA256SUMS").write_text(text)
    with pytest.raises(FetchError, match=message):
        run(tmp_path / "out", mirror)
    assert everything(tmp_path / "out") == []
    assert run(tmp_path / "out", mirror, sha256(model_archive())).items[0].trust is Trust.OPTION


def test_first_checksum_is_remembered(mirror: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(out, mirror)
    shutil.rmtree(out / FULL)
    changed = model_archive(b"somebody else's")
    (mirror / FULL_ARCHIVE).write_bytes(changed)
    with pytest.raises(FetchError, match="the checksum recorded at the first export"):
        run(out, mirror)
    with pytest.raises(FetchError, match="the checksum recorded at the first export"):
        run(out, mirror, force=True)
    assert everything(out) == [CHECKSUMS_NAME]
    run(out, mirror, sha256(changed))
    shutil.rmtree(out / FULL)
    assert run(out, mirror).items[0].trust is Trust.RECORDED
    shutil.rmtree(out / FULL)
    (out / CHECKSUMS_NAME).write_text('{"x": 1}')
    with pytest.raises(FetchError, match="is damaged"):
        run(out, mirror)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (model_archive()[:-20], "damaged or cut"),
        (b"<html>not found</html>", "is no tar archive"),
        (model_archive(name="other.pb"), f"has no {GRAPH_NAME} in"),
        (model_archive(graph=b""), f"has no {GRAPH_NAME} in"),
        (model_archive(folder="other"), "holds no files in"),
        (model_archive(name="../../evil"), "leads out"),
    ],
    ids=["half", "html", "no-graph", "empty-graph", "other-folder", "hostile"],
)
def test_bad_archive_leaves_nothing(data: bytes, text: str, server: Server, tmp_path: Path) -> None:
    server.set(f"/m/{FULL_ARCHIVE}", good(data))
    with pytest.raises(ArchiveError, match=text):
        run(tmp_path / "out", server.address + "/m/")
    assert everything(tmp_path / "out") == [] and everything(tmp_path) == ["out"]


def test_bad_archive_leaves_the_old_folder(mirror: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(out, mirror)
    before = snapshot(out / FULL)
    half = model_archive()[:-20]
    (mirror / FULL_ARCHIVE).write_bytes(half)
    with pytest.raises(ArchiveError):
        run(out, mirror, sha256(half))
    assert snapshot(out / FULL) == before


def test_mirror_on_a_server(server: Server, tmp_path: Path) -> None:
    data = model_archive()
    server.set(f"/m/{FULL_ARCHIVE}", cut(data, 100), good(data))
    server.set("/m/SHA256SUMS", good(f"{sha256(data)}  {FULL_ARCHIVE}\n".encode()))
    out = tmp_path / "out"
    result = run(out, server.address + "/m/")
    assert result.items[0].trust is Trust.MANIFEST and result.items[0].source == f"{server.address}/m/{FULL_ARCHIVE}"
    assert not (out / ".smalti-downloads").exists()
    count = len(server.requests)
    assert run(out, server.address + "/m").was_cached and len(server.requests) == count


def test_interrupted_export_resumes(server: Server, tmp_path: Path) -> None:
    data = model_archive(os.urandom(100_000))
    server.set(f"/{FULL_ARCHIVE}", cut(data, 50_000), status(503))
    out = tmp_path / "out"
    with pytest.raises(FetchError, match="50000 bytes are kept"):
        run(out, server.address)
    assert not (out / FULL).exists()
    server.set(f"/{FULL_ARCHIVE}", good(data))
    server.requests.clear()
    assert not run(out, server.address).was_cached
    assert [r for r in server.ranges() if r] == ["bytes=50000-"]


def test_download_survives_a_disk_that_fills_while_unpacking(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: object, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    server.set(f"/{FULL_ARCHIVE}", good(model_archive()))
    out = tmp_path / "out"
    monkeypatch.setattr(archive_module, "write_all", full)
    with pytest.raises(FetchError, match="the disk is full"):
        run(out, server.address)
    monkeypatch.undo()
    assert [path.name for path in out.iterdir()] == [".smalti-downloads"]
    count = sum(path == f"/{FULL_ARCHIVE}" for path, _ in server.requests)
    run(out, server.address)
    assert sum(path == f"/{FULL_ARCHIVE}" for path, _ in server.requests) == count == 1
    assert not (out / ".smalti-downloads").exists()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS, errno.EMFILE])
def test_rename_that_fails_restores_the_old_folder(
    code: int, mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    run(out, mirror)
    before = snapshot(out)
    real = os.rename

    def failing(source: Path, target: Path) -> None:
        if target == out / FULL and source.suffix == ".smalti-tmp" and (source / STAMP_NAME).is_file() and armed:
            armed.pop()
            raise OSError(code, os.strerror(code))
        real(source, target)

    armed = [True]
    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(FetchError):
        run(out, mirror, force=True)
    monkeypatch.undo()
    assert snapshot(out) == before and not armed


class _Faults:
    """Makes the nth call of the system's file functions on paths below ``folder`` fail."""

    NAMES = ("open", "mkdir", "rename", "replace", "unlink", "scandir", "stat", "fsync")

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path, code: int) -> None:
        self.folder = str(folder)
        self.code = code
        self.left = -1
        for name in self.NAMES:
            patch.setattr(os, name, self._wrap(getattr(os, name)))
        patch.setattr("builtins.open", self._wrap(open))
        for module in (archive_module, download_module, disk_module):
            patch.setattr(module, "write_all", self._wrap(disk_module.write_all, always=True))

    def _wrap(self, real: Callable[..., Any], always: bool = False) -> Callable[..., Any]:
        def call(first: Any, *rest: Any, **named: Any) -> Any:
            if self.left > 0 and (always or str(first).startswith(self.folder)):
                self.left -= 1
                if self.left == 0:
                    raise OSError(self.code, os.strerror(self.code))
            return real(first, *rest, **named)

        return call


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS, errno.EMFILE])
def test_every_call_of_the_disk_may_fail(
    code: int, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.set(f"/{FULL_ARCHIVE}", good(model_archive()))
    faults = _Faults(monkeypatch, tmp_path, code)
    failed = 0
    for n in range(1, 200):
        out = tmp_path / str(n)
        faults.left = n
        try:
            run(out, server.address)
        except (FetchError, ResourceError) as error:
            failed += 1
            assert os.strerror(code) in str(error) and str(out) in str(error), (n, error)
        fired, faults.left = faults.left == 0, -1
        if (out / FULL).exists():
            assert (out / FULL / GRAPH_NAME).read_bytes() == b"graph " * 1000, n
            assert (out / FULL / STAMP_NAME).is_file(), n
        result = run(out, server.address)
        assert result.graph is not None and result.graph.read_bytes() == b"graph " * 1000
        assert sorted(path.name for path in out.iterdir()) == sorted([CHECKSUMS_NAME, FULL]), n
        if not fired:
            break
    assert not fired and failed > 20


def test_two_exports_at_once_fetch_once(server: Server, tmp_path: Path) -> None:
    data = model_archive(os.urandom(50_000))
    together = threading.Barrier(2)
    waited: set[Stage] = set()

    def slow(exchange: Exchange) -> None:
        exchange.stop.wait(0.3)
        good(data)(exchange)

    server.set(f"/{FULL_ARCHIVE}", slow)
    results: list[ExportResult] = []

    def work() -> None:
        together.wait()
        options = ExportOptions(
            tmp_path / "out", FULL, mirror=server.address, progress=lambda stage, *_: waited.add(stage)
        )
        results.append(export(options))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(result.was_cached for result in results) == [False, True]
    assert sum(path == f"/{FULL_ARCHIVE}" for path, _ in server.requests) == 1
    assert Stage.WAIT in waited


def test_patience_with_another_export_ends(mirror: Path, tmp_path: Path) -> None:
    options = ExportOptions(tmp_path / "out", FULL, mirror=str(mirror), lock_patience=0.0)
    inner: list[SmaltiError] = []

    def nested(stage: Stage, name: str, done: int, total: int | None) -> None:
        try:
            export(options)
        except SmaltiError as error:
            inner.append(error)

    export(ExportOptions(tmp_path / "out", FULL, mirror=str(mirror), progress=nested))
    assert inner and all(isinstance(error, ResourceError) for error in inner)


def test_exception_of_the_progress_leaves_nothing(mirror: Path, tmp_path: Path) -> None:
    def interrupt(stage: Stage, name: str, done: int, total: int | None) -> None:
        if stage is Stage.UNPACK:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(ExportOptions(tmp_path / "out", FULL, mirror=str(mirror), progress=interrupt))
    assert everything(tmp_path / "out") == []


def test_killed_export_leaves_no_final_name(mirror: Path, tmp_path: Path) -> None:
    code = f"""
        import os, signal
        from pathlib import Path
        from smalti.delivery.export import ExportOptions, export
        from smalti.fetch.progress import Stage
        def die(stage, name, done, total):
            if stage is Stage.UNPACK:
                os.kill(os.getpid(), signal.SIGKILL)
        export(ExportOptions(Path({str(tmp_path / "out")!r}), {FULL!r}, mirror={str(mirror)!r}, progress=die))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    left = [path.name for path in (tmp_path / "out").iterdir()]
    assert len(left) == 1 and left[0].endswith(".smalti-tmp")
    assert not run(tmp_path / "out", mirror).was_cached
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted([CHECKSUMS_NAME, FULL])


def test_killed_download_resumes(server: Server, tmp_path: Path) -> None:
    data = model_archive(os.urandom(100_000))
    server.set(f"/{FULL_ARCHIVE}", stall(data, 60_000), good(data))
    code = f"""
        import os, signal
        from pathlib import Path
        from smalti.delivery.export import ExportOptions, export
        def die(stage, name, done, total):
            if done == 60_000:
                os.kill(os.getpid(), signal.SIGKILL)
        export(ExportOptions(Path({str(tmp_path / "out")!r}), {FULL!r}, mirror={server.address!r}, progress=die))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    run(tmp_path / "out", server.address)
    assert [r for r in server.ranges() if r] == ["bytes=60000-"]


@pytest.mark.parametrize(
    "mirror_text", ["", "/nowhere/at/all", "ftp://h/", "http://h/?q", "http://h/#f", "http://u:p@h/"]
)
def test_mirrors_that_cannot_be(mirror_text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        run(tmp_path / "out", mirror_text)
    assert not (tmp_path / "out").exists()


def test_mirror_without_the_archive(mirror: Path, server: Server, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=rf"{HALF}_2018_10_01\.tar\.gz: No such file"):
        run(tmp_path / "out", mirror, model=HALF)
    with pytest.raises(FetchError, match="404"):
        run(tmp_path / "out", server.address)
    assert not (tmp_path / "out" / FULL).exists()


@pytest.mark.parametrize("name", [FULL_ARCHIVE, "SHA256SUMS"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_never_ends_is_not_read_from_a_mirror(kind: str, name: str, mirror: Path, tmp_path: Path) -> None:
    (mirror / name).unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(mirror / name)
    elif kind == "device":
        (mirror / name).symlink_to("/dev/zero")
    else:
        (mirror / name).mkdir()
    with pytest.raises(FetchError, match=f"{name} is no plain file"):
        run(tmp_path / "out", mirror)


def test_a_mirror_whose_name_is_no_text(mirror: Path, tmp_path: Path) -> None:
    odd = mirror.rename(tmp_path / os.fsdecode(b"mirror\xff"))
    first = run(tmp_path / "out", odd)
    assert first.model is not None and first.model.trust is Trust.FIRST_USE
    assert run(tmp_path / "out", odd).was_cached
    again = run(tmp_path / "out", odd, force=True)
    assert again.model is not None and again.model.trust is Trust.RECORDED


def test_demo_needs_nothing(tmp_path: Path) -> None:
    result = export(ExportOptions(tmp_path, "demo", "demo"))
    assert result.graph == tmp_path / "demo" / GRAPH_NAME and result.graph.stat().st_size > 100_000
    assert result.val_list is not None and len(result.val_list.read_text().split()) == 60
    assert {item.trust for item in result.items} == {Trust.PACKAGE}
    assert export(ExportOptions(tmp_path, "demo", "demo")).was_cached
    result.graph.write_bytes(b"")
    again = export(ExportOptions(tmp_path, "demo", "demo"))
    assert [item.was_cached for item in again.items] == [False, True] and result.graph.stat().st_size > 100_000


SHARED_SUMS = {
    FULL: "9f4d88878100939e2a0c6d71619477ad4564464f70425b787db66ef4b8d5aabd",
    HALF: "b1806daec5059331b3e4bf66f24d1d3586b18ba89bbe99ae726157404865cf26",
    "voc2012": "1429b7e9a254dfcba41dc8aba71d0633b39657e11a5b7ac1c55e3948270ef67c",
}


def test_real_archives(tmp_path: Path) -> None:
    mirror = str(shared_dir() / "mirror")
    for model, dataset in ((FULL, "voc2012"), (HALF, "voc2012")):
        sums = tuple(f"{name}={SHARED_SUMS[name]}" for name in (model, dataset))
        options = ExportOptions(tmp_path, model, dataset, mirror, sums)
        result = export(options)
        assert [item.was_cached for item in result.items] == [False, model == HALF]
        assert result.graph is not None and result.voc_root == tmp_path / "VOCdevkit/VOC2012"
        assert result.graph.stat().st_size == {FULL: 8_737_960, HALF: 3_008_475}[model]
        assert result.val_list is not None and len(result.val_list.read_text().split()) == 191
        assert len(list((result.voc_root / "JPEGImages").iterdir())) == 291
        assert len(list((result.voc_root / "SegmentationClass").iterdir())) == 191
        before = snapshot(tmp_path)
        assert export(options).was_cached and snapshot(tmp_path) == before
    with pytest.raises(FetchError, match="the option --sha256 states"):
        export(ExportOptions(tmp_path / "other", FULL, mirror=mirror, sha256=("0" * 64,)))
