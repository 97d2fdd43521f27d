"""What tests of long jobs share: a model, good and bad pictures, the command in a process of its own, its results."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

import smalti
from small_segmenter import SIDE, network
from smalti.building.build import build
from smalti.compiler import CompileOptions
from smalti.target.host import resolve_targets
from smalti.vision.headers import ImageFormat
from smalti.vision.images import encode_picture

SOURCE = Path(smalti.__file__).resolve().parents[1]
# Whoever runs the tests in the background may have made processes ignore SIGINT.
MAIN = f"""
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, {str(SOURCE)!r})
from smalti.cli.main import main
main()
"""
SLOW = f"""
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, {str(SOURCE)!r})
from smalti.jobs import stream
from smalti.cli.main import main
def label(*a, real=stream._label, **k):
    time.sleep(0.1)
    return real(*a, **k)
stream._label = label
main()
"""
REPORTS = ("smalti-report.json", "smalti-report.csv")
JOURNAL = "smalti-journal.jsonl"
TEMPORARY = ".smalti-tmp"


def make_model(folder: Path, name: str = "m.smalti", mutable: bool = False) -> Path:
    """Build a small network that labels pictures of 24 x 24."""
    graph = folder / "graph.pb"
    graph.write_bytes(network())
    return build(graph, folder / name, CompileOptions(resolve_targets("native"), shape_mutable=mutable)).path


def picture_bytes(seed: int, form: ImageFormat = ImageFormat.JPEG, height: int = 30, width: int = 40) -> bytes:
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return encode_picture(coarse.repeat(-(-height // 5), 0).repeat(-(-width // 5), 1)[:height, :width], form)


def fill(folder: Path, count: int, **size: int) -> list[str]:
    """Write good pictures, every third a PNG, and return their names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{index:04}.{'png' if index % 3 == 0 else 'jpg'}" for index in range(count)]
    for index, name in enumerate(names):
        form = ImageFormat.PNG if name.endswith("png") else ImageFormat.JPEG
        (folder / name).write_bytes(picture_bytes(index, form, **size))
    return names


def bomb() -> bytes:
    """A PNG whose header promises 30,000 x 30,000 pixels."""
    header = b"IHDR" + (30_000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    return b"\x89PNG\r\n\x1a\n\0\0\0\x0d" + header + zlib.crc32(header).to_bytes(4, "big") + b"\0\0\0\0IEND\xaeB`\x82"


def add_bad(folder: Path, count: int) -> list[str]:
    """Add ``count`` pictures that are no good, of every kind in turn, and return their names."""
    good = picture_bytes(1)
    kinds = ("empty", "cut", "bomb", "text", "folder", "dangling", "loop", "pipe", "pipelink")
    names = []
    for index in range(count):
        kind = kinds[index % len(kinds)]
        name = f"bad-{index:03}-{kind}.{'png' if kind == 'bomb' else 'jpg'}"
        path = folder / name
        if kind == "folder":
            path.mkdir()
        elif kind == "dangling":
            path.symlink_to("nowhere")
        elif kind == "loop":
            path.symlink_to(name)
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "pipelink":
            path.symlink_to("/dev/zero")
        else:
            path.write_bytes({"empty": b"", "cut": good[:-40], "bomb": bomb(), "text": b"hello"}[kind])
        names.append(name)
    return names


def add_odd_names(folder: Path) -> list[str]:
    """Add good pictures whose names are unusual, and return the names."""
    names = ["new\nline.png", os.fsdecode(b"\xff\xfe.png"), "n" * 251 + ".png", "-dash.png", "a b.png", "=1+1.png"]
    names += ["twin.jpg", "twin.png", "twin.JPG"]
    for index, name in enumerate(names):
        form = ImageFormat.PNG if name.endswith(".png") else ImageFormat.JPEG
        (folder / name).write_bytes(picture_bytes(900 + index, form))
    return names


def command(model: Path, source: Path, out: Path, *more: str) -> list[str]:
    """Return the command that labels a folder with the small network."""
    where = ["--model", str(model), "--image-dir", str(source), "--output-dir", str(out)]
    size = ["--resize", "stretch", "--input-size", str(SIDE), "--threads", "2"]
    return [sys.executable, "-c", MAIN, "infer", *where, *size, *more]


def run(
    arguments: Sequence[str], *, timeout: float = 120, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments,
        capture_output=True,
        text=True,
        timeout=timeout,
        errors="replace",
        env={**os.environ, **(environment or {})},
    )


def start(arguments: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace")


def wait_for_results(out: Path, count: int, timeout: float = 60) -> None:
    """Wait until so many pictures are in the journal."""
    end = time.monotonic() + timeout
    while journal_lines(out) < count:
        if time.monotonic() > end:
            raise TimeoutError(f"no {count} results in {timeout} s")
        time.sleep(0.002)


def wait_until_gone(process: int, timeout: float = 30) -> None:
    """Wait until a process has ended."""
    end = time.monotonic() + timeout
    while Path(f"/proc/{process}").exists():
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        if state in "ZX":
            return
        if time.monotonic() > end:
            raise TimeoutError(f"{process} is still there after {timeout} s")
        time.sleep(0.01)


def journal_lines(out: Path) -> int:
    """Return how many pictures a journal lists."""
    try:
        return max(0, (out / JOURNAL).read_bytes().count(b"\n") - 1)
    except OSError:
        return 0


def lost(out: Path) -> list[str]:
    """Return the results that a journal lists and that are not there."""
    try:
        lines = (out / JOURNAL).read_bytes().splitlines(keepends=True)[1:]
    except OSError:
        return []
    whole = [json.loads(line) for line in lines if line.endswith(b"\n")]
    return [line["output"] for line in whole if "output" in line and not (out / line["output"]).is_file()]


def results(out: Path) -> dict[str, str]:
    """Return a digest of every result file and report; the journal, whose order may differ, is left out."""
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name != JOURNAL
    }


def left_overs(out: Path) -> list[str]:
    return [path.name for path in out.rglob(f"*{TEMPORARY}")]


def partial(out: Path, whole: dict[str, str]) -> list[str]:
    """Return the files under a final name whose bytes are not those of an unbroken run."""
    return [
        name
        for name, digest in results(out).items()
        if not name.endswith(TEMPORARY) and name not in REPORTS and whole.get(name) != digest
    ]


def slow(arguments: Sequence[str]) -> list[str]:
    """Return a command that takes a tenth of a second longer for each picture, so that it is surely met at work."""
    return [*arguments[:2], SLOW, *arguments[3:]]


def compiler() -> str | None:
    return shutil.which("cc") or shutil.which("gcc")


def preload(library: Path) -> dict[str, str]:
    """Return what loads ``library`` first. By name alone: the loader splits LD_PRELOAD at spaces."""
    folders = [str(library.parent), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
    return {"LD_PRELOAD": library.name, "LD_LIBRARY_PATH": ":".join(folders)}


class Faults:
    """Makes the nth call that concerns a folder fail or kill its process; see ``faults.c``."""

    def __init__(self, folder: Path) -> None:
        self.library = folder / "faults.so"
        self.log = folder / "faults.log"
        program = compiler()
        if program is None:
            raise FileNotFoundError("there is no C compiler")
        source = Path(__file__).with_name("faults.c")
        subprocess.run([program, "-O1", "-shared", "-fPIC", "-o", self.library, source, "-ldl"], check=True)

    def environment(self, out: Path, call: str, error: int, nth: int, times: int = 1) -> dict[str, str]:
        """Return what to add to a process's environment; ``error`` 0 kills it. The log is emptied."""
        self.log.write_bytes(b"")
        values = {"FOLDER": os.path.realpath(out), "CALL": call, "ERROR": error, "NTH": nth, "TIMES": times}
        named = {f"FAULT_{name}": str(value) for name, value in values.items()}
        return {**preload(self.library), "FAULT_LOG": str(self.log), **named}

    def fired(self) -> int:
        """Return how many calls have failed."""
        return self.log.stat().st_size


SERVER = """
import json, os, sys
sys.path.insert(0, {source!r})
import smalti.cli.infer
from smalti.cli.main import run
for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if not child:
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(job[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.environ.update(job["environment"])
        code = run(job["arguments"])
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


class Server:
    """Runs commands in forks of one process, which starts them faster than new processes; faults can be given."""

    def __init__(self, folder: Path, library: Path | None = None) -> None:
        self._out, self._err = folder / "server.out", folder / "server.err"
        environment = {**os.environ, **({} if library is None else preload(library))}
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVER.format(source=str(SOURCE))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=60)

    def run(
        self, arguments: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run what :func:`command` returned."""
        assert self._process.stdin is not None and self._process.stdout is not None
        words = {"arguments": list(arguments)[3:], "environment": dict(environment or {})}
        self._process.stdin.write(json.dumps({**words, "out": str(self._out), "err": str(self._err)}) + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        shown = (path.read_text(errors="replace") for path in (self._out, self._err))
        return subprocess.CompletedProcess(arguments, code, *shown)
