"""Offline model files: what is written is read, and whatever else is refused before any code could run."""

from __future__ import annotations

import hashlib
import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

import smalti
from artifact_kit import Parts, forge, plain_parts, reverse_manifest, seal
from smalti.artifact import writer
from smalti.artifact.format import MAX_MANIFEST_BYTES, SectionKind
from smalti.artifact.manifest import Manifest
from smalti.artifact.program import check_target
from smalti.artifact.reader import model_sha256, open_model
from smalti.artifact.schema import manifest_json
from smalti.artifact.writer import write_model
from smalti.errors import (
    CompilerError,
    DamagedModelError,
    ModelFileError,
    ModelVersionError,
    NotAModelError,
    OutputError,
    ResourceError,
    TargetError,
    UsageError,
)
from smalti.runtime import engine as engine_module
from smalti.target.host import Host, resolve_target
from smalti.target.target import Caches, Target


@pytest.fixture
def parts() -> Parts:
    return plain_parts()


@pytest.fixture(autouse=True)
def nothing_executable(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test of this module may get as far as mapping code."""

    def refuse(code: bytes) -> None:
        pytest.fail("code of a refused file was about to be mapped")

    monkeypatch.setattr(engine_module, "map_code", refuse)


def _refusal(tmp_path: Path, data: bytes) -> ModelFileError:
    path = tmp_path / "bad.smalti"
    path.write_bytes(data)
    started = time.process_time()
    with pytest.raises(ModelFileError) as caught:
        smalti.load(path, threads=1)
    assert time.process_time() - started < 1
    assert str(caught.value).startswith(str(path))
    return caught.value


def test_round_trip(tmp_path: Path, parts: Parts) -> None:
    path = tmp_path / "m.smalti"
    digest = write_model(path, parts.manifest, parts.constants, parts.code)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    with open_model(path, sha256=digest.upper()) as file:
        assert file.manifest == parts.manifest
        assert file.code == parts.code
        assert file.constants.offset % 4096 == 0 and file.header.all(SectionKind.CODE)[0].offset % 4096 == 0
        kept = bytearray(len(parts.constants))
        file.read_constants(memoryview(kept))
        assert kept == parts.constants
    assert os.listdir(tmp_path) == ["m.smalti"]


def test_equal_models_give_equal_bytes(parts: Parts) -> None:
    assert parts.data() == plain_parts().data()


def test_forged_copy_is_the_written_file(parts: Parts) -> None:
    text = manifest_json(parts.manifest)
    assert forge(text, parts.constants, parts.code, parts.manifest.target) == parts.data()


def test_every_header_bit_and_random_others(tmp_path: Path, parts: Parts) -> None:
    data = parts.data()
    header = 128 + 3 * 64
    rng = random.Random(1)
    bits = [*range(header * 8), *(rng.randrange(header * 8, len(data) * 8) for _ in range(1500))]
    path = tmp_path / "bad.smalti"
    path.write_bytes(data)
    for bit in bits:
        with path.open("r+b", buffering=0) as file:
            os.pwrite(file.fileno(), bytes([data[bit // 8] ^ 1 << bit % 8]), bit // 8)
            with pytest.raises((NotAModelError, DamagedModelError)) as caught:
                open_model(path)
            os.pwrite(file.fileno(), data[bit // 8 : bit // 8 + 1], bit // 8)
        in_magic = bit < 64
        assert isinstance(caught.value, NotAModelError) == in_magic, f"bit {bit}: {caught.value}"
    open_model(path).__exit__(None, None, None)


def test_every_kind_of_cut(tmp_path: Path, parts: Parts) -> None:
    data = parts.data()
    rng = random.Random(2)
    lengths = {*range(2, 330), *(rng.randrange(330, len(data)) for _ in range(300)), len(data) - 1}
    path = tmp_path / "cut.smalti"
    for length in lengths:
        path.write_bytes(data[:length])
        with pytest.raises(DamagedModelError, match=r": the file is cut: "):
            open_model(path)


@pytest.mark.parametrize("extra", [b"\0", b"x", bytes(4096), b"\x89SMALTI\n"])
def test_appended_bytes(tmp_path: Path, parts: Parts, extra: bytes) -> None:
    error = _refusal(tmp_path, parts.data() + extra)
    assert isinstance(error, DamagedModelError)
    assert f"{len(extra)} bytes follow" in str(error)


@pytest.mark.parametrize(
    "data", [b"", b"\x89", b"GIF89a", bytes(5000), b"\x7fELF" + bytes(200), b"{}", b"\x89PNG\r\n\x1a\n"]
)
def test_something_else(tmp_path: Path, data: bytes) -> None:
    error = _refusal(tmp_path, data)
    assert isinstance(error, NotAModelError)
    assert "damaged" not in str(error) and "cut" not in str(error)


def test_future_version_says_both_versions(tmp_path: Path, parts: Parts) -> None:
    data = forge(b"from the future", b"", b"", "x", sections=[(9, 9, 9, 9, b"?")], version=7)
    error = _refusal(tmp_path, data)
    assert isinstance(error, ModelVersionError)
    assert "version 7" in str(error) and "up to version 1" in str(error) and "build the model again" in str(error)


def test_version_zero(tmp_path: Path, parts: Parts) -> None:
    text = manifest_json(parts.manifest)
    error = _refusal(tmp_path, forge(text, b"", parts.code, parts.manifest.target, version=0))
    assert isinstance(error, DamagedModelError)


def test_folder_pipe_device_missing_and_nul(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, kind in (
        (tmp_path, NotAModelError),
        (tmp_path / "pipe", NotAModelError),
        (Path("/dev/null"), NotAModelError),
        (tmp_path / "missing", ModelFileError),
        (tmp_path / "a\0b", ModelFileError),
    ):
        started = time.process_time()
        with pytest.raises(kind):
            smalti.load(path, threads=1)
        assert time.process_time() - started < 1


def test_sparse_terabyte_files(tmp_path: Path, parts: Parts) -> None:
    for name, start in (("zeros", b""), ("model", parts.data())):
        path = tmp_path / name
        path.write_bytes(start)
        os.truncate(path, 1 << 40)
        started = time.process_time()
        with pytest.raises((NotAModelError, DamagedModelError)):
            smalti.load(path, threads=1)
        assert time.process_time() - started < 1
    header_bytes, total = 128 + 192, 1 << 40
    path.write_bytes(seal([(1, 0, 320, total - 320, b"")] * 3, b"", header_bytes, total))
    os.truncate(path, total)
    with pytest.raises(DamagedModelError, match="more than any model"):
        smalti.load(path, threads=1)


def test_expected_digest(tmp_path: Path, parts: Parts) -> None:
    path = parts.write(tmp_path / "m.smalti")
    with pytest.raises(DamagedModelError, match="expected " + "0" * 64):
        open_model(path, sha256="0" * 64)
    for wrong in ("", "0" * 63, "g" * 64, "0" * 65):
        with pytest.raises(UsageError):
            open_model(path, sha256=wrong)
    for strange in (b"0" * 64, 0, True):
        with pytest.raises(UsageError, match="64 hexadecimal digits"):
            open_model(path, sha256=strange)  # type: ignore[arg-type]


def test_constants_that_change_after_the_check(tmp_path: Path, parts: Parts) -> None:
    """Others write to the file in place, between its check and the copy of its constants."""
    path = parts.write(tmp_path / "m.smalti")
    with open_model(path) as file:
        kept = memoryview(bytearray(file.constants.size))
        file.read_constants(kept)
        descriptor = os.open(path, os.O_WRONLY)
        os.pwrite(descriptor, bytes([kept[-1] ^ 1]), file.constants.offset + file.constants.size - 1)
        with pytest.raises(DamagedModelError, match="m.smalti: the file was changed while it was read"):
            file.read_constants(kept)
        os.truncate(descriptor, file.constants.offset)
        os.close(descriptor)
        with pytest.raises(DamagedModelError, match="m.smalti: the file is cut"):
            file.read_constants(kept)


def test_what_is_no_path() -> None:
    for strange in (None, 3, 1.5, bytearray(b"m")):
        with pytest.raises(UsageError, match=f"not as {type(strange).__name__}"):
            open_model(strange)  # type: ignore[arg-type]


_TARGET = resolve_target("generic").name.encode()


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("overlap", lambda s: s[1].__setitem__(2, s[0][2])),
        ("hole", lambda s: s[2].__setitem__(2, s[2][2] + 4096)),
        ("misaligned", lambda s: s[1].__setitem__(2, s[1][2] + 8)),
        ("before the header ends", lambda s: s[0].__setitem__(2, 64)),
        ("offset 2^64 - 1", lambda s: s[1].__setitem__(2, 2**64 - 1)),
        ("size 2^64 - 1", lambda s: s[1].__setitem__(3, 2**64 - 1)),
        ("size one more", lambda s: s[2].__setitem__(3, s[2][3] + 1)),
        ("size one less", lambda s: s[2].__setitem__(3, s[2][3] - 1)),
        ("manifest too large", lambda s: s[0].__setitem__(3, MAX_MANIFEST_BYTES + 1)),
        ("kind 0", lambda s: s[0].__setitem__(0, 0)),
        ("kind 4", lambda s: s[1].__setitem__(0, 4)),
        ("two manifests", lambda s: s[1].__setitem__(0, 1)),
        ("swapped", lambda s: (s[1].__setitem__(0, 3), s[2].__setitem__(0, 2))),
        ("reserved", lambda s: s[1].__setitem__(1, 1)),
        ("named constants", lambda s: s[1].__setitem__(4, b"c")),
        ("nameless code", lambda s: s[2].__setitem__(4, b"")),
        ("other target", lambda s: s[2].__setitem__(4, b"x86-64-v9")),
        ("NUL inside the name", lambda s: s[2].__setitem__(4, _TARGET + b"\0x")),
        ("name not ASCII", lambda s: s[2].__setitem__(4, b"\xff")),
        ("no sections", lambda s: s.clear()),
        ("one section", lambda s: s.__delitem__(slice(1, 3))),
        ("two code sections", lambda s: s.append(list(s[2]))),
    ],
)
def test_section_tables_with_right_checksums(tmp_path: Path, parts: Parts, what: str, change: object) -> None:
    text = manifest_json(parts.manifest)
    names = (b"", b"", _TARGET)
    places = (320, 4096, 4096 * 3)
    sections = [[k + 1, 0, places[k], len(c), names[k]] for k, c in enumerate((text, parts.constants, parts.code))]
    good = forge(text, parts.constants, parts.code, _TARGET.decode(), [tuple(s) for s in sections])
    assert good == parts.data()
    change(sections)  # type: ignore[operator]
    body = good[128 + 192 :]
    header_bytes = 128 + 64 * len(sections)
    error = _refusal(
        tmp_path,
        seal([tuple(s) for s in sections], body, header_bytes, header_bytes + len(body)),  # type: ignore[misc]
    )
    assert isinstance(error, DamagedModelError), what


def test_bytes_in_the_padding(tmp_path: Path, parts: Parts) -> None:
    data = bytearray(parts.data())
    data[4095] = 1
    sections = [
        (1, 0, 320, len(manifest_json(parts.manifest)), b""),
        (2, 0, 4096, len(parts.constants), b""),
        (3, 0, 4096 * 3, len(parts.code), _TARGET),
    ]
    error = _refusal(tmp_path, seal(sections, bytes(data[320:]), 320, len(data)))
    assert "between its sections" in str(error)


def test_header_sizes_with_right_checksums(tmp_path: Path, parts: Parts) -> None:
    for header_bytes in (0, 127, 128, 191, 321, 2**32 - 1):
        data = seal([(1, 0, 128, 10, b"")], bytes(500), header_bytes, 192 + 500)
        assert isinstance(_refusal(tmp_path, data), DamagedModelError)


def test_missing_features_are_named(parts: Parts) -> None:
    old = Host("x86_64", "Old CPU", frozenset(Target.parse("x86-64-v2").features), Caches(0, 0, 0))
    with pytest.raises(TargetError) as caught:
        check_target(reverse_manifest(Target.parse("x86-64-v4+vnni")), old)
    text = str(caught.value)
    assert all(name in text for name in ("Old CPU", "avx2", "avx512f", "avx512vnni", "--target native"))
    assert "sse4.2" not in text
    with pytest.raises(TargetError, match=r"built for aarch64 CPUs .* this machine is x86_64"):
        check_target(reverse_manifest(Target.parse("aarch64")), old)
    check_target(reverse_manifest(Target.parse("x86-64-v2")), old)


def test_extra_and_unknown_requirements(tmp_path: Path) -> None:
    base = resolve_target("generic")
    wanted = Target(base.name, base.arch, base.cpu, ("amx-tile", *base.features), 128, base.triple, base.caches)
    path = Parts(reverse_manifest(wanted), b"", b"\xc3").write(tmp_path / "m.smalti")
    with pytest.raises(TargetError, match="amx-tile"):
        smalti.load(path, threads=1)
    odd = Target("riscv64", "riscv64", "", base.features, 128, "", base.caches)
    path = Parts(reverse_manifest(odd), b"", b"\xc3").write(tmp_path / "n.smalti")
    with pytest.raises(TargetError, match="does not know"):
        smalti.load(path, threads=1)


def test_no_temporary_file_is_left(tmp_path: Path, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    path = parts.write(tmp_path / "m.smalti")
    before = path.read_bytes()
    for name in ("fsync", "replace"):

        def fail(*args: object) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(writer.os, name, fail)
            with pytest.raises(OutputError, match="No space left"):
                write_model(path, parts.manifest, bytes(5000), parts.code)
        assert os.listdir(tmp_path) == ["m.smalti"] and path.read_bytes() == before
    with pytest.raises(OutputError, match="cannot write"):
        parts.write(tmp_path / "no" / "folder")


def test_disk_limit(tmp_path: Path) -> None:
    script = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from artifact_kit import plain_parts\n"
        "from smalti.errors import OutputError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))\n"
        "try:\n    plain_parts().write(Path(sys.argv[1]))\n"
        "except OutputError as error:\n    sys.exit(40)\n"
    )
    tests = Path(__file__).resolve().parents[1]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent / "src")])}
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "m")], env=env, timeout=60, check=False)
    assert done.returncode == 40
    assert os.listdir(tmp_path) == []


def test_writer_refuses_what_the_reader_would() -> None:
    with pytest.raises(CompilerError, match="entry point"):
        Parts(reverse_manifest(entry=3), b"", b"\xc3").data()
    good = reverse_manifest()
    fields = {name: getattr(good, name) for name in Manifest.__dataclass_fields__}
    for change in (
        {"outputs": ()},
        {"report": {"x": float("nan")}},
        {"report": {"x": object()}},
        {"features": ("b", "a")},
    ):
        with pytest.raises(CompilerError):
            manifest_json(Manifest(**{**fields, **change}))


def test_messages_do_not_leak_addresses(tmp_path: Path, parts: Parts) -> None:
    assert not re.search(r"0x[0-9a-f]{6,}|Traceback", str(_refusal(tmp_path, parts.data()[:-5])))


def test_no_memory_to_read(tmp_path: Path, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> bytes:
        raise MemoryError

    path = parts.write(tmp_path / "m.smalti")
    monkeypatch.setattr(os, "pread", refuse)
    with pytest.raises(ResourceError, match="no memory to read the model file"):
        smalti.load(path)


def test_the_sha256_of_a_loaded_file_is_that_of_its_bytes(tmp_path: Path, parts: Parts) -> None:
    path = tmp_path / "m.smalti"
    digest = write_model(path, parts.manifest, parts.constants, parts.code)
    with open_model(path) as file:
        assert model_sha256(file.path, file.digest) == digest != file.digest
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DamagedModelError, match="cut"):
        model_sha256(file.path, file.digest)
    write_model(path, parts.manifest, parts.constants + b"more", parts.code)
    with pytest.raises(DamagedModelError, match="was replaced after it was loaded"):
        model_sha256(file.path, file.digest)
    path.unlink()
    with pytest.raises(ModelFileError, match="No such file"):
        model_sha256(file.path, file.digest)
