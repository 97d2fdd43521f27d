"""Downloads against a server that cuts, stalls, lies and redirects."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fast.http_server import (
    Answer,
    Exchange,
    Server,
    chunked,
    cut,
    drip,
    endless,
    good,
    running_server,
    stall,
    status,
)
from smalti.errors import FetchError, UsageError
from smalti.fetch import disk
from smalti.fetch import download as download_module
from smalti.fetch.download import Download, download, download_small
from smalti.fetch.progress import Stage
from smalti.fetch.transport import Policy, check_address

DATA = bytes(range(256)) * 400
SHA256 = hashlib.sha256(DATA).hexdigest()
LIMIT = 1_000_000
FAST = Policy(connect_timeout=2, read_timeout=0.4, min_rate=20_000, attempts=3, backoff=0.01, max_wait=0.05)
CALM = Policy(connect_timeout=2, read_timeout=10, attempts=3, backoff=0.01, max_wait=0.05)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with running_server() as running:
        yield running


def fetch(address: str, folder: Path, sha256: str | None = SHA256, policy: Policy = CALM) -> Download:
    return download(address, folder / "file.bin", max_bytes=LIMIT, sha256=sha256, policy=policy)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_whole_file(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[Stage, int, int | None]] = []
    address = server.set("/file.bin", good(DATA))
    got = download(
        address,
        tmp_path / "file.bin",
        max_bytes=LIMIT,
        progress=lambda stage, name, done, total: seen.append((stage, done, total)),
    )
    assert got == Download(tmp_path / "file.bin", SHA256, len(DATA), 0)
    assert (tmp_path / "file.bin").read_bytes() == DATA
    assert names(tmp_path) == ["file.bin"]
    assert server.requests[0][1]["Accept-Encoding"] == "identity"
    loaded = [(done, total) for stage, done, total in seen if stage is Stage.DOWNLOAD]
    assert loaded[0] == (0, len(DATA)) and loaded[-1] == (len(DATA), len(DATA))
    assert loaded == sorted(loaded)


def test_cut_download_resumes_within_one_call(server: Server, tmp_path: Path) -> None:
    address = server.set("/file.bin", cut(DATA, 30_000), good(DATA))
    assert fetch(address, tmp_path).sha256 == SHA256
    assert server.ranges() == [None, "bytes=30000-"]
    assert server.requests[1][1]["If-Range"] == '"one"'


def test_cut_download_resumes_in_the_next_call(server: Server, tmp_path: Path) -> None:
    address = server.set("/file.bin", cut(DATA, 30_000), status(503))
    with pytest.raises(FetchError, match="503.*30000 bytes are kept"):
        fetch(address, tmp_path)
    assert names(tmp_path) == ["file.bin.part", "file.bin.part.json"]
    server.set("/file.bin", good(DATA))
    server.requests.clear()
    assert fetch(address, tmp_path).resumed_from == 30_000
    assert server.ranges() == ["bytes=30000-"]
    assert names(tmp_path) == ["file.bin"]


def test_date_serves_where_there_is_no_strong_etag(server: Server, tmp_path: Path) -> None:
    date = "Mon, 29 Jan 2018 00:00:00 GMT"

    def first(exchange: Exchange) -> None:
        exchange.head(200, Content_Length=len(DATA), ETag='W/"weak"', Last_Modified=date)
        exchange.body(DATA[:1000])

    address = server.set("/file.bin", first, good(DATA, etag=None, modified=date))
    assert fetch(address, tmp_path).sha256 == SHA256
    assert server.requests[1][1]["If-Range"] == date


def test_without_a_version_nothing_is_resumed(server: Server, tmp_path: Path) -> None:
    address = server.set("/file.bin", cut(DATA, 30_000, etag=None), good(DATA))
    assert fetch(address, tmp_path).sha256 == SHA256
    assert server.ranges() == [None, None]


def test_server_that_ignores_range_sends_all_again(server: Server, tmp_path: Path) -> None:
    def ignores(exchange: Exchange) -> None:
        exchange.head(200, Content_Length=len(DATA), ETag='"one"')
        exchange.body(DATA)

    address = server.set("/file.bin", cut(DATA, 30_000), ignores)
    assert fetch(address, tmp_path).sha256 == SHA256
    assert server.ranges() == [None, "bytes=30000-"]


def test_new_version_between_the_parts(server: Server, tmp_path: Path) -> None:
    old = b"old " * 20_000
    address = server.set("/file.bin", cut(old, 30_000, etag='"old"'), good(DATA, etag='"new"'))
    assert fetch(address, tmp_path).sha256 == SHA256


def _partial(start: int, data: bytes, total: int, etag: str = '"one"') -> Answer:
    def answer(exchange: Exchange) -> None:
        span = f"bytes {start}-{start + len(data) - 1}/{total}"
        exchange.head(206, Content_Length=len(data), Content_Range=span, ETag=etag)
        exchange.body(data)

    return answer


@pytest.mark.parametrize(
    "wrong",
    [
        _partial(30_000, DATA[30_000:], len(DATA), etag='"two"'),
        _partial(29_999, DATA[29_999:], len(DATA)),
        _partial(30_000, DATA[30_000:] + b"x", len(DATA) + 1),
        _partial(30_000, DATA[30_000:50_000], len(DATA)),
        status(206),
        status(416),
        status(206, Content_Range="bytes 30000-+10/20"),
    ],
    ids=["other-etag", "other-start", "other-total", "other-end", "no-range", "refused", "bad-range"],
)
def test_a_rest_that_does_not_fit_is_never_glued(wrong: Answer, server: Server, tmp_path: Path) -> None:
    address = server.set("/file.bin", cut(DATA, 30_000), wrong, good(DATA))
    assert fetch(address, tmp_path, sha256=None).sha256 == SHA256
    assert server.ranges() == [None, "bytes=30000-", None]


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"address": 1}', b'{"validator": ["x"]}', b"[" * 10_000])
def test_damaged_note_means_start_anew(text: bytes, server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(b"something else")
    (tmp_path / "file.bin.part.json").write_bytes(text)
    address = server.set("/file.bin", good(DATA))
    assert fetch(address, tmp_path).resumed_from == 0
    assert server.ranges() == [None]


def test_part_of_another_address_is_not_used(server: Server, tmp_path: Path) -> None:
    other = server.set("/other.bin", cut(b"y" * 50_000, 20_000), status(404))
    with pytest.raises(FetchError):
        fetch(other, tmp_path)
    address = server.set("/file.bin", good(DATA))
    assert fetch(address, tmp_path).sha256 == SHA256


def test_whole_part_needs_no_request(server: Server, tmp_path: Path) -> None:
    address = server.set("/file.bin", status(500))
    note = {"address": address, "validator": '"one"', "total": len(DATA)}
    (tmp_path / "file.bin.part").write_bytes(DATA)
    (tmp_path / "file.bin.part.json").write_text(json.dumps(note))
    assert fetch(address, tmp_path).sha256 == SHA256
    assert server.requests == []


def test_length_stated_too_long(server: Server, tmp_path: Path) -> None:
    address = server.set("/file.bin", cut(DATA, len(DATA), etag=None, length=len(DATA) + 5))
    with pytest.raises(FetchError, match="gave up after 3 tries"):
        fetch(address, tmp_path)
    assert "file.bin" not in names(tmp_path)


def test_length_stated_too_short_is_found_by_the_checksum(server: Server, tmp_path: Path) -> None:
    address = server.set("/file.bin", cut(DATA, len(DATA), length=len(DATA) - 5))
    with pytest.raises(FetchError, match=f"but the caller states {SHA256}"):
        fetch(address, tmp_path)
    assert names(tmp_path) == []


def test_wrong_checksum_deletes(server: Server, tmp_path: Path) -> None:
    address = server.set("/file.bin", good(DATA[::-1]))
    with pytest.raises(FetchError, match=hashlib.sha256(DATA[::-1]).hexdigest()):
        fetch(address, tmp_path)
    assert names(tmp_path) == []


def test_stalled_connection_is_dropped_and_resumed(server: Server, tmp_path: Path) -> None:
    address = server.set("/file.bin", stall(DATA, 30_000), good(DATA))
    start = time.monotonic()
    assert fetch(address, tmp_path, policy=FAST).sha256 == SHA256
    assert time.monotonic() - start < 10
    assert server.ranges() == [None, "bytes=30000-"]


def test_dripping_connection_is_dropped(server: Server, tmp_path: Path) -> None:
    address = server.set("/file.bin", drip(DATA, 0.05), good(DATA))
    assert fetch(address, tmp_path, policy=FAST).sha256 == SHA256
    assert len(server.requests) == 2


def test_silent_server(server: Server, tmp_path: Path) -> None:
    def silent(exchange: Exchange) -> None:
        exchange.stop.wait(20)

    address = server.set("/file.bin", silent)
    with pytest.raises(FetchError, match="no answer.*gave up after 3 tries"):
        fetch(address, tmp_path, policy=FAST)


def test_chunked_body(server: Server, tmp_path: Path) -> None:
    address = server.set("/file.bin", chunked(DATA, whole=False), chunked(DATA))
    assert fetch(address, tmp_path).sha256 == SHA256
    assert len(server.requests) == 2


def test_retries_server_errors_then_gives_up(server: Server, tmp_path: Path) -> None:
    address = server.set("/file.bin", status(500), status(503, Retry_After=1), good(DATA))
    assert fetch(address, tmp_path).sha256 == SHA256
    server.set("/file.bin", status(500))
    server.requests.clear()
    with pytest.raises(FetchError, match="HTTP status 500; gave up after 3 tries"):
        fetch(address, tmp_path)
    assert len(server.requests) == 3


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410, 501])
def test_refusals_are_final(code: int, server: Server, tmp_path: Path) -> None:
    address = server.set("/file.bin", status(code))
    with pytest.raises(FetchError, match=f"HTTP status {code}"):
        fetch(address, tmp_path)
    assert len(server.requests) == 1


def test_progress_starts_the_count_of_tries_anew(server: Server, tmp_path: Path) -> None:
    def pieces(exchange: Exchange) -> None:
        start = exchange.first_byte() or 0
        names: dict[str, object] = {"Content_Length": len(DATA) - start, "ETag": '"one"'}
        if start:
            names["Content_Range"] = f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"
        exchange.head(206 if start else 200, **names)
        exchange.body(DATA[start : start + 20_000])

    address = server.set("/file.bin", pieces)
    eager = Policy(read_timeout=5, attempts=2, backoff=0.01, progress_bytes=10_000)
    assert fetch(address, tmp_path, policy=eager).sha256 == SHA256
    assert len(server.requests) == 6
    with pytest.raises(FetchError, match="gave up after 2 tries"):
        fetch(address, tmp_path, policy=Policy(read_timeout=5, attempts=2, backoff=0.01))


def test_redirects(server: Server, tmp_path: Path) -> None:
    address = server.set("/file.bin", status(302, Location="/a"))
    server.set("/a", status(307, Location=server.address + "/b"))
    server.set("/b", good(DATA))
    assert fetch(address, tmp_path).sha256 == SHA256


@pytest.mark.parametrize(
    ("location", "text"),
    [
        ("/file.bin", "redirects more than 5 times"),
        ("", "redirects to nowhere"),
        ("ftp://127.0.0.1/x", "not followed"),
        ("file:///etc/hostname", "not followed"),
        ("http://user:secret@127.0.0.1/", "not followed"),
        ("http://[::1", "not followed"),
        ("http://127.0.0.1:99999/", "not followed"),
    ],
)
def test_redirects_that_are_not_followed(location: str, text: str, server: Server, tmp_path: Path) -> None:
    address = server.set("/file.bin", status(302, Location=location))
    with pytest.raises(FetchError, match=text):
        fetch(address, tmp_path)
    assert len(server.requests) <= 6
    assert names(tmp_path) == []


def test_size_limit_is_exact(server: Server, tmp_path: Path) -> None:
    address = server.set("/file.bin", good(DATA))
    target = tmp_path / "file.bin"
    assert download(address, target, max_bytes=len(DATA), policy=CALM).bytes == len(DATA)
    with pytest.raises(FetchError, match=f"with {len(DATA)} bytes is longer than the {len(DATA) - 1}"):
        download(address, target, max_bytes=len(DATA) - 1, policy=CALM)
    assert target.read_bytes() == DATA
    server.set("/file.bin", endless(bytes(50_000)))
    with pytest.raises(FetchError, match="longer than the"):
        download(address, target, max_bytes=300_000, policy=CALM)
    assert names(tmp_path) == ["file.bin"]


def test_nobody_listens(tmp_path: Path, server: Server) -> None:
    with running_server() as other:
        address = other.address + "/file.bin"
    with pytest.raises(FetchError, match="no answer from .*Connection refused") as caught:
        fetch(address, tmp_path)
    assert "0x" not in str(caught.value)


def test_proxy_of_the_environment(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.address)
    server.set("http://models.invalid/file.bin", good(DATA))
    assert fetch("http://models.invalid/file.bin", tmp_path).sha256 == SHA256
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert fetch(server.set("/file.bin", good(DATA)), tmp_path).sha256 == SHA256


def test_full_disk_keeps_the_part(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = disk.write_all
    written = 0

    def full(file: object, data: bytes) -> None:
        nonlocal written
        if written + len(data) > 40_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written += len(data)
        real(file, data)  # type: ignore[arg-type]

    monkeypatch.setattr(download_module, "write_all", full)
    address = server.set("/file.bin", cut(DATA, 30_000), good(DATA))
    with pytest.raises(FetchError) as caught:
        fetch(address, tmp_path)
    monkeypatch.undo()
    kept = (tmp_path / "file.bin.part").stat().st_size
    assert 30_000 <= kept <= 40_000
    assert f": {len(DATA) - kept} more bytes are needed to write {tmp_path}/file.bin.part" in str(caught.value)
    assert "file.bin" not in names(tmp_path)
    assert fetch(address, tmp_path).resumed_from == kept


def test_file_size_limit_of_the_system(server: Server, tmp_path: Path) -> None:
    address = server.set("/file.bin", good(DATA))
    code = f"""
        import resource
        from pathlib import Path
        from smalti.errors import FetchError
        from smalti.fetch.download import download
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
        try:
            download({address!r}, Path({str(tmp_path / "file.bin")!r}), max_bytes={LIMIT})
        except FetchError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60, check=True
    )
    assert "the disk is full" in done.stdout and "62400 more bytes are needed" in done.stdout
    assert (tmp_path / "file.bin.part").stat().st_size == 40_000
    assert fetch(address, tmp_path).resumed_from == 40_000


def test_space_is_checked_before_the_download(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(FetchError, match=f"{len(DATA) - 1000} more bytes are needed"):
        fetch(server.set("/file.bin", good(DATA)), tmp_path)
    assert names(tmp_path) == []


def test_folder_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="No such file or directory"):
        fetch(server.set("/file.bin", good(DATA)), tmp_path / "absent")


def test_small_files(server: Server) -> None:
    address = server.set("/sums", status(500), good(b"text"))
    assert download_small(address, max_bytes=10, policy=CALM) == b"text"
    assert download_small(server.address + "/absent", max_bytes=10, policy=CALM) is None
    with pytest.raises(FetchError, match="longer than the 3 bytes"):
        download_small(address, max_bytes=3, policy=CALM)
    with pytest.raises(FetchError, match="500"):
        download_small(server.set("/bad", status(500)), max_bytes=3, policy=CALM)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "x",
        "ftp://h/x",
        "file:///x",
        "http://",
        "http:///x",
        "http://h:x/",
        "http://u:p@h/",
        "http://h/\n",
        "http://h/ x",
    ],
)
def test_addresses_that_are_refused(address: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_address(address)
    assert "p@" not in str(caught.value)
