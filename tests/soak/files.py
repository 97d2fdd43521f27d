"""Offline model files under attack by accident: flipped bits, cuts, crafted headers, replaced and shared files."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import smalti
from artifact_kit import Parts, forge
from model_kit import reverse_parts
from smalti.artifact.format import unpack_prefix
from smalti.artifact.reader import open_model
from smalti.artifact.schema import manifest_json
from smalti.demo import dataset
from smalti.errors import InputError, ModelFileError, SmaltiError
from smalti.runtime import engine as engine_module
from soak.forks import SOURCES, TESTS, Tally, forked, has, script

_BUILD = """
import hashlib, pathlib, sys
from smalti.cli.main import run
made = run(["build", "--tf-model", sys.argv[1], "--output-model-path", sys.argv[2], "--target", sys.argv[3]])
if made:
    sys.exit(made)
print(hashlib.sha256(pathlib.Path(sys.argv[2]).read_bytes()).hexdigest())
"""


def main(seed: int, scale: float) -> dict[str, Any]:
    """Run the checks of model files with counts multiplied by ``scale``; return the figures of each."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = demo_model(folder)
        return {
            "8 bit flips and cuts": flips_and_cuts(folder, model, seed, scale),
            "9 crafted manifests": crafted_manifests(folder, seed, scale),
            "12 same bytes": same_bytes(folder),
            "13 shared constants": shared_constants(model),
            "13 replaced while running": replaced_while_running(folder, scale),
            "13 compiler killed": compiler_killed(folder, seed, scale),
            "14 rights of pages": rights_of_pages(folder, model),
        }


def demo_model(folder: Path, target: str = "native") -> Path:
    """Build the embedded network."""
    return built(folder, "demo", dataset.graph_bytes(), target)


def built(folder: Path, name: str, data: bytes, target: str = "native") -> Path:
    """Build a graph in a process of its own, so that this one stays without a compiler."""
    graph = folder / f"{name}.pb"
    graph.write_bytes(data)
    output = folder / f"{name}-{target}.smalti"
    ran = script(_BUILD, graph, output, target)
    if ran.returncode != 0:
        raise RuntimeError(f"{name} cannot be built: {ran.stderr[-500:]}")
    return output


def flips_and_cuts(folder: Path, model: Path, seed: int, scale: float) -> dict[str, Any]:
    """One flipped bit at every byte of the header and at random others; cuts; what follows the end."""
    data = model.read_bytes()
    header_bytes = unpack_prefix(data[:32], len(data)).header_bytes
    rng = random.Random(seed)
    places = list(range(header_bytes)) + [rng.randrange(len(data)) for _ in range(int(20_000 * scale))]
    texts: Counter[str] = Counter()
    slowest, accepted = 0.0, []

    def refuse(what: str, changed: bytes) -> None:
        nonlocal slowest
        bad.write_bytes(changed)
        started = time.process_time()
        try:
            smalti.load(bad, threads=1).close()
        except ModelFileError as error:
            texts[_kind(str(error))] += 1
        else:
            accepted.append(what)
        slowest = max(slowest, time.process_time() - started)

    bad = folder / "bad.smalti"
    mapped = mock.Mock(side_effect=engine_module.map_code)
    with mock.patch.object(engine_module, "map_code", mapped):
        for at in places:
            bit = rng.randrange(8)
            changed = bytearray(data)
            changed[at] ^= 1 << bit
            refuse(f"bit {bit} of byte {at}", bytes(changed))
        for _ in range(int(1000 * scale)):
            size = rng.randrange(len(data))
            refuse(f"cut to {size}", data[:size])
        for extra in (b"\0", b"x" * 4096):
            refuse(f"{len(extra)} bytes more", data + extra)
    return {
        "pass": not accepted and mapped.call_count == 0 and slowest < 1 and len(texts) == 3,
        "cases": sum(texts.values()),
        "accepted": accepted[:20],
        "executable mappings": mapped.call_count,
        "slowest ms of a CPU": round(slowest * 1e3, 1),
        "texts": dict(texts),
    }


def _kind(text: str) -> str:
    kinds = ("is not an offline model", "the file is damaged", "the file is cut", "format version")
    return next((kind for kind in kinds if kind in text), text)


def crafted_manifests(folder: Path, seed: int, scale: float) -> dict[str, Any]:
    """Manifests changed at random under right checksums: refused, or loaded and planned; nothing else."""
    parts = reverse_parts()
    record = json.loads(manifest_json(parts.manifest))
    rng = random.Random(seed)
    tally = Tally()
    path = folder / "crafted.smalti"
    total = int(10_000 * scale)
    for first in range(0, total, 50):
        batch = [_mutant(record, random.Random(rng.randrange(2**60))) for _ in range(50)]
        outcome = forked(lambda batch=batch: _load_all(path, parts, batch), seconds=60)  # type: ignore[misc]
        tally.add(outcome, f"seed {seed}, cases {first} to {first + 49}")
    return tally.result(mutants=total)


def _mutant(record: dict[str, Any], rng: random.Random) -> bytes:
    text = json.dumps(record, sort_keys=True, separators=(",", ":")).encode()
    changed = bytearray(text)
    kind = rng.randrange(3)
    if kind == 0:
        for _ in range(rng.randrange(1, 5)):
            changed[rng.randrange(len(changed))] = rng.choice(b'0123456789-"[]{},:truefalsn.eE\\x\xff')
        return bytes(changed)
    made = json.loads(text)
    for _ in range(rng.randrange(1, 3)):
        _replace(made, rng)
    return json.dumps(made).encode()


def _replace(value: Any, rng: random.Random) -> None:
    """Change one leaf, somewhere."""
    hostile: list[Any] = [0, -1, 1, 2**31, 2**63 - 1, -(2**63), 2**64, 1e308, None, True, "", "x" * 5000, [], {}, [[]]]
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            return
        key = rng.choice(keys)
        inner = value[key]
        if isinstance(inner, (dict, list)) and inner and rng.random() < 0.85:
            value = inner
            continue
        if rng.random() < 0.1 and isinstance(value, dict):
            del value[key]
        else:
            value[key] = rng.choice(hostile)
        return


def _load_all(path: Path, parts: Parts, batch: list[bytes]) -> str:
    accepted = 0
    for text in batch:
        path.write_bytes(forge(text, parts.constants, parts.code, parts.manifest.target))
        try:
            with smalti.load(path, threads=1) as engine:
                accepted += 1
                for n in (1, 1000):
                    try:
                        engine.workspace_bytes({t.name: (1, n) for t in engine.inputs})
                    except InputError:
                        continue
        except SmaltiError:
            continue
    return str(accepted)


def same_bytes(folder: Path) -> dict[str, Any]:
    """Five builds with other hash seeds, folders, time zones, clocks and CPUs."""
    graph = folder / "demo.pb"
    digests = []
    for number in range(5):
        place = folder / f"place {number}"
        place.mkdir()
        env = {
            "PYTHONHASHSEED": str(number),
            "TZ": ("UTC", "Asia/Tokyo")[number % 2],
            "LC_ALL": ("C", "C.UTF-8")[number % 2],
        }
        clock = ["faketime", f"20{30 + number}-01-02 03:04:05"] if number and has("faketime") else []
        cpu = ["taskset", "-c", "0"] if number == 3 else []
        ran = script(
            _BUILD, graph, place / "m.smalti", "native", env=env, cwd=place, before=[*clock, *cpu], seconds=300
        )
        digests.append(ran.stdout.strip().rpartition("\n")[2] or ran.stderr[-300:])
    return {"pass": len(set(digests)) == 1 and len(digests[0]) == 64, "builds": 5, "different": len(set(digests))}


_SHARE = """
import pathlib, sys
import numpy as np
import smalti
engine = smalti.load(sys.argv[1], threads=1)
engine(np.zeros((64, 64, 3), np.uint8))
size = 0
rows = pathlib.Path("/proc/self/smaps").read_text().splitlines()
inside = False
for row in rows:
    if "-" in row.split()[0] and ":" not in row.split()[0]:
        inside = row.endswith(pathlib.Path(sys.argv[1]).name)
    elif inside and row.startswith("Private"):
        size += int(row.split()[1]) * 1024
print(size)
sys.stdout.flush()
sys.stdin.readline()
"""


def shared_constants(model: Path) -> dict[str, Any]:
    """A second process that loads the same file has (nearly) none of its constants to itself."""
    first = subprocess.Popen(
        [sys.executable, "-c", _SHARE, str(model)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
    )
    try:
        if first.stdout is None:
            raise RuntimeError("no pipe")
        first.stdout.readline()
        second = script(_SHARE, model, input="\n")
    finally:
        first.communicate("\n", timeout=30)
    with open_model(model) as file:
        constants = file.constants.size
    private = int(second.stdout)
    return {"pass": private <= constants // 10, "constants": constants, "private in the second process": private}


def replaced_while_running(folder: Path, scale: float) -> dict[str, Any]:
    """The file is replaced by renames while engines run from it: results stay those of the file that was loaded."""
    path = folder / "replaced.smalti"
    parts = reverse_parts()
    parts.write(path)
    x = np.arange(1000, dtype=np.float32)[np.newaxis]
    engine = smalti.load(path, threads=2)
    want = engine.run({"x": x})["y:0"].tobytes()
    wrong, runs = 0, int(1000 * scale)
    for number in range(runs):
        if number % 10 == 0:
            temporary = folder / "next.smalti"
            parts.write(temporary)
            os.replace(temporary, path)
        wrong += engine.run({"x": x})["y:0"].tobytes() != want
    return {"pass": wrong == 0, "runs": runs, "wrong": wrong}


_WRITE = """
import pathlib, sys
sys.path.insert(0, sys.argv[2])
from model_kit import reverse_parts
parts = reverse_parts()
print("ready", flush=True)
for number in range(10_000):
    parts.write(pathlib.Path(sys.argv[1]))
"""


def compiler_killed(folder: Path, seed: int, scale: float) -> dict[str, Any]:
    """A writer killed at any moment leaves the old file or the new one."""
    path = folder / "killed.smalti"
    reverse_parts().write(path)
    whole = path.read_bytes()
    rng = random.Random(seed)
    wrong, kills = 0, max(1, int(50 * scale))
    for _ in range(kills):
        child = subprocess.Popen(
            [sys.executable, "-c", _WRITE, str(path), str(TESTS)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(SOURCES)},
        )
        if child.stdout is None:
            raise RuntimeError("no pipe")
        child.stdout.readline()
        time.sleep(rng.uniform(0, 0.05))
        child.send_signal(signal.SIGKILL)
        child.communicate()
        wrong += path.read_bytes() != whole
    return {"pass": wrong == 0, "kills": kills, "wrong": wrong}


_MAPS = """
import pathlib, sys
import numpy as np
import smalti
engine = smalti.load(sys.argv[1], threads=2)
engine(np.zeros((32, 32, 3), np.uint8))
rows = pathlib.Path("/proc/self/maps").read_text().splitlines()
both = [row for row in rows if "w" in row.split()[1] and "x" in row.split()[1]]
constants = {row.split()[1] for row in rows if row.endswith(pathlib.Path(sys.argv[1]).name)}
print(len(both), ",".join(sorted(constants)))
"""


def rights_of_pages(folder: Path, model: Path) -> dict[str, Any]:
    """No page is writable and executable, constants are read-only; strict mounts and refusals give clear errors."""
    plain = script(_MAPS, model).stdout.strip()
    read_only = folder / "read-only.smalti"
    read_only.write_bytes(model.read_bytes())
    read_only.chmod(0o444)
    figures: dict[str, Any] = {"maps": plain, "read-only file": script(_MAPS, read_only).stdout.strip()}
    good = [plain == "0 r--p", figures["read-only file"] == "0 r--p"]
    with _noexec_mount(folder / "noexec") as mount:
        if mount is not None:
            (mount / "m.smalti").write_bytes(model.read_bytes())
            figures["noexec mount"] = script(_MAPS, mount / "m.smalti").stdout.strip()
            good.append(figures["noexec mount"] == "0 r--p")
    if has("strace"):
        figures["refused mprotect"] = _refused_mprotect(folder, model)
        good.append(figures["refused mprotect"].startswith("refused: the system refuses to make the model's code"))
    return {"pass": all(good), **figures}


_LOAD = """
import sys, smalti
try:
    smalti.load(sys.argv[1], threads=1)
except smalti.errors.ResourceError as error:
    print("refused:", error)
"""


def _refused_mprotect(folder: Path, model: Path) -> str:
    """Refuse the one call that makes the model's code executable, as a strict security module does."""
    log = folder / "calls"
    script(_LOAD, model, before=["strace", "-qq", "-o", str(log), "-e", "trace=mprotect"])
    calls = [row for row in log.read_text().splitlines() if row.startswith("mprotect(")]
    ours = max(number for number, row in enumerate(calls, 1) if "PROT_EXEC" in row)
    inject = f"inject=mprotect:error=EACCES:when={ours}"
    return script(_LOAD, model, before=["strace", "-qq", "-o", "/dev/null", "-e", inject]).stdout.strip()


@contextmanager
def _noexec_mount(place: Path) -> Iterator[Path | None]:
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "noexec,size=16m", "tmpfs", str(place)], capture_output=True, check=False
    )
    try:
        yield place if mounted.returncode == 0 else None
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", str(place)], check=False)
