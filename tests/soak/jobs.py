"""Long jobs at full counts: killed, stopped, refused by the disk, full of bad pictures, with a million entries."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jobs_kit as kit
from smalti.cli.exit_codes import ExitCode

PICTURES = 60
KILLS, STOPS, CALLS = 100, 20, 50
MANY, BAD = 1000, 50
ENTRIES = 1_000_000
IN_FLIGHT = 8 + 16
FAULTS = {
    "ENOSPC": (errno.ENOSPC, ("open", "write", "fsync", "rename")),
    "EIO": (errno.EIO, ("open", "write", "fsync", "rename", "unlink")),
    "EACCES": (errno.EACCES, ("open", "rename", "mkdir")),
    "EROFS": (errno.EROFS, ("open", "rename", "mkdir", "ftruncate")),
    "EMFILE": (errno.EMFILE, ("open",)),
}


@dataclass
class Findings:
    """What a check has counted, and each way in which it failed."""

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def expect(self, holds: bool, what: str) -> None:
        if not holds:
            self.failures.append(what)

    def result(self, **more: Any) -> dict[str, Any]:
        return {"pass": not self.failures, **self.counts, **more, "failures": self.failures[:10]}


class Bench:
    """A folder with a model, pictures and what an unbroken run makes of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = kit.make_model(folder)
        self.source = folder / "in"
        kit.fill(self.source, PICTURES)
        kit.add_bad(self.source, 9)
        kit.add_odd_names(self.source)
        kit.run(self.command(folder / "whole"))
        self.whole = kit.results(folder / "whole")
        self.faults = kit.Faults(folder) if kit.compiler() else None
        self.server = kit.Server(folder, None if self.faults is None else self.faults.library)

    def command(self, out: Path, *more: str) -> list[str]:
        return kit.command(self.model, self.source, out, "--overlay", *more)

    def finish(self, out: Path, found: Findings, case: str) -> dict[str, Any]:
        """Let a job go on to its end, and compare it with an unbroken run."""
        found.expect(not kit.partial(out, self.whole), f"{case}: a partial file under a final name")
        found.expect(not kit.lost(out), f"{case}: a finished result is gone")
        done = self.server.run(self.command(out, "--json"))
        found.expect(done.returncode == ExitCode.DONE_WITH_ERRORS, f"{case}: {done.returncode} {done.stderr[-300:]}")
        found.expect(kit.results(out) == self.whole, f"{case}: the results differ from an unbroken run")
        try:
            told: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            return {}
        return told


def main(seed: int, scale: float) -> dict[str, dict[str, Any]]:
    """Run the checks; each is a way in which a long job may come to harm."""
    out: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="smalti-soak-jobs-") as name:
        bench = Bench(Path(name))
        checks: dict[str, Callable[[Bench, int, float], dict[str, Any]]] = {
            "kill at random times": kills,
            "kill at each call": kills_at_calls,
            "a clock that jumps": clock_jumps,
            "SIGTERM": stops,
            "refusing disk": faults,
            "a full tmpfs": full_disk,
            "a thousand pictures, bad ones too": many,
            "a million entries": entries,
        }
        with bench.server:
            for check, run in checks.items():
                begin = time.monotonic()
                out[check] = {**run(bench, seed, scale), "seed": seed}
                out[check]["seconds"] = round(time.monotonic() - begin, 1)
                sys.stdout.write(f"{check}: {out[check]}\n")
                sys.stdout.flush()
    return out


def kills(bench: Bench, seed: int, scale: float) -> dict[str, Any]:
    """kill -9 at random times, several in one job until it is done."""
    moments, found = random.Random(seed), Findings()
    redone = 0
    out = bench.folder / "killed"
    while found.counts["kills"] < max(4, KILLS * scale):
        before = kit.journal_lines(out)
        process = kit.start(bench.command(out))
        with process:
            if moments.random() < 0.8:
                kit.wait_for_results(out, min(before + moments.randrange(1, 12), PICTURES // 2))
            else:
                time.sleep(moments.uniform(0.0, 2.5))
            process.kill()
        ended = process.returncode != -signal.SIGKILL
        found.counts["kills"] += not ended
        found.expect(not kit.partial(out, bench.whole), "a partial file under a final name")
        found.expect(not kit.lost(out), "a finished result is gone")
        if ended or kit.journal_lines(out) >= PICTURES // 2:
            had = len([n for n in kit.results(out) if n.endswith(".png")])
            told = bench.finish(out, found, f"after {found.counts['kills']} kills")
            redone = max(redone, had - told.get("resumed", had))
            found.counts["jobs finished"] += 1
            shutil.rmtree(out)
    found.expect(redone <= IN_FLIGHT, f"{redone} pictures were done twice")
    return found.result(most_redone=redone)


def kills_at_calls(bench: Bench, seed: int, scale: float) -> dict[str, Any]:
    """kill -9 at the nth write, fsync, rename, open or unlink that concerns the output folder."""
    if bench.faults is None:
        return {"pass": True, "skipped": "there is no C compiler"}
    found, made = Findings(), bench.faults
    for call in ("write", "fsync", "rename", "open", "unlink"):
        for nth in _numbers(scale, 40):
            out = bench.folder / "out"
            done = bench.server.run(bench.command(out), made.environment(out, call, 0, nth))
            found.counts["kills"] += made.fired()
            found.expect((done.returncode == -signal.SIGKILL) == bool(made.fired()), f"{call} {nth}: {done.returncode}")
            if made.fired():
                bench.finish(out, found, f"{call} {nth}")
            shutil.rmtree(out)
    return found.result()


def clock_jumps(bench: Bench, seed: int, scale: float) -> dict[str, Any]:
    """A job that is killed, and goes on ten years earlier."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        return {"pass": True, "skipped": "libfaketime is not here"}
    found, out = Findings(), bench.folder / "clock"
    for when in ("+3650d", "-3650d", "+1d"):
        environment = {**os.environ, "LD_PRELOAD": str(library), "FAKETIME": when}
        process = subprocess.Popen(
            bench.command(out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
        )
        with process:
            kit.wait_for_results(out, kit.journal_lines(out) + 3)
            process.kill()
        found.counts["jumps"] += 1
    bench.finish(out, found, "clock")
    return found.result()


def stops(bench: Bench, seed: int, scale: float) -> dict[str, Any]:
    """SIGTERM, every third time SIGINT, at random moments."""
    moments, found = random.Random(seed + 1), Findings()
    slowest = 0.0
    for number in range(max(2, int(STOPS * scale))):
        out = bench.folder / "stopped"
        process = kit.start(bench.command(out))
        with process:
            kit.wait_for_results(out, moments.randrange(1, PICTURES // 2))
            time.sleep(moments.uniform(0, 0.05))
            begin = time.monotonic()
            process.send_signal(signal.SIGINT if number % 3 == 2 else signal.SIGTERM)
            _, shown = process.communicate(timeout=60)
        slowest = max(slowest, time.monotonic() - begin)
        found.counts["signals"] += 1
        ended = process.returncode == ExitCode.DONE_WITH_ERRORS
        found.counts["came too late"] += ended
        found.expect(ended or process.returncode == ExitCode.INTERRUPTED, f"{number}: {process.returncode} {shown}")
        found.expect(ended or "give the same command again" in shown, f"{number}: {shown[-300:]}")
        found.expect(not kit.left_overs(out), f"{number}: temporary files are left")
        listed = kit.journal_lines(out)
        told = bench.finish(out, found, f"stop {number}")
        again = listed - told.get("resumed", 0) - told.get("failed", 0)
        found.expect(again <= 0, f"{number}: {again} finished pictures were done again")
        shutil.rmtree(out)
    found.expect(slowest <= 10, f"a stop took {slowest:.1f} s")
    return found.result(slowest_seconds=round(slowest, 2))


def faults(bench: Bench, seed: int, scale: float) -> dict[str, Any]:
    """Each error at the nth call of each kind that concerns the output folder, once and from there on."""
    if bench.faults is None:
        return {"pass": True, "skipped": "there is no C compiler"}
    found, made = Findings(), bench.faults
    for name, (error, calls) in FAULTS.items():
        for call in calls:
            for nth in _numbers(scale, CALLS):
                out, case = bench.folder / "out", f"{name} at {call} {nth}"
                times = 1 if nth % 2 else 10**6
                done = bench.server.run(bench.command(out), made.environment(out, call, error, nth, times))
                if not made.fired():
                    found.counts["not reached"] += 1
                    shutil.rmtree(out)
                    break
                found.counts[name] += 1
                # That a folder which is there cannot be made again, or nothing be removed, is no reason to stop.
                if call not in ("mkdir", "unlink") or done.returncode != ExitCode.DONE_WITH_ERRORS:
                    found.expect(done.returncode == ExitCode.FETCH, f"{case}: {done.returncode} {done.stderr[-300:]}")
                    found.expect(os.strerror(error) in done.stderr, f"{case}: no cause in {done.stderr[-300:]}")
                    found.expect(str(out) in done.stderr, f"{case}: no path in {done.stderr[-300:]}")
                found.expect("Traceback" not in done.stderr, f"{case}: {done.stderr[-300:]}")
                bench.finish(out, found, case)
                shutil.rmtree(out)
    return found.result()


def full_disk(bench: Bench, seed: int, scale: float) -> dict[str, Any]:
    """A file system of 64 kB that fills up; then it grows, and the job goes on."""
    disk, found = bench.folder / "disk", Findings()
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk], capture_output=True).returncode:
        return {"pass": True, "skipped": "this user may not mount"}
    try:
        out = disk / "out"
        for _ in range(3):
            done = kit.run(bench.command(out))
            found.expect(done.returncode == ExitCode.FETCH, f"{done.returncode} {done.stderr[-300:]}")
            found.expect(os.strerror(errno.ENOSPC) in done.stderr and str(disk) in done.stderr, done.stderr[-300:])
            found.expect(not kit.partial(out, bench.whole), "a partial file under a final name")
            found.counts["full"] += 1
        before = kit.journal_lines(out)
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        told = bench.finish(out, found, "after it grew")
        found.expect(0 < told.get("resumed", 0) <= before, f"resumed {told.get('resumed')} of {before}")
    finally:
        subprocess.run(["umount", disk], check=False)
    return found.result()


def many(bench: Bench, seed: int, scale: float) -> dict[str, Any]:
    """A thousand pictures, fifty of them bad in every way; two jobs at once; another model."""
    found, source, out = Findings(), bench.folder / "many", bench.folder / "many-out"
    total, bad = max(100, int(MANY * scale)), max(10, int(BAD * scale))
    odd = kit.add_odd_names(_made(source))
    names = kit.fill(source, total - bad - len(odd))
    wrong = kit.add_bad(source, bad)
    if os.geteuid():
        (source / wrong[0]).chmod(0)
    command = kit.command(bench.model, source, out)
    first = kit.start(command)
    with first:
        kit.wait_for_results(out, 1)
        first.send_signal(signal.SIGSTOP)
        second = kit.run(command)
        first.send_signal(signal.SIGCONT)
        shown = first.communicate(timeout=600)[1]
    refused = second.returncode == ExitCode.RESOURCE and "another job" in second.stderr
    found.expect(refused, f"second job: {second.returncode} {second.stderr[-300:]}")
    found.expect(first.returncode == ExitCode.DONE_WITH_ERRORS, f"{first.returncode} {shown[-300:]}")
    report = json.loads((out / "smalti-report.json").read_text())
    listed = {failure["name"] for failure in report["failures"]}
    found.counts.update({"done": report["done"], "listed": report["failed"], "second jobs refused": int(refused)})
    found.expect(report["done"] == total - bad and len(listed) == bad, f"{report['done']} done, {len(listed)} listed")
    found.expect(listed == set(wrong), f"listed otherwise: {sorted(listed ^ set(wrong))[:5]}")
    found.expect(all(failure["reason"] for failure in report["failures"]), "a failure without a reason")
    maps = len([path for path in out.iterdir() if path.suffix == ".png"])
    found.expect(maps == len(names) + len(odd), f"{maps} label maps: one was written over another")
    other = kit.run(kit.command(kit.make_model(bench.folder, "other.smalti", mutable=True), source, out))
    found.expect(other.returncode == ExitCode.USAGE and "the model (was" in other.stderr, other.stderr[-300:])
    option = kit.run([*command, "--output-size", "input"])
    found.expect(option.returncode == ExitCode.USAGE and "--output-size" in option.stderr, option.stderr[-300:])
    return found.result()


FIRST_PICTURE = """
import resource, sys, time
begin = time.monotonic()
sys.path.insert(0, {source!r})
import smalti.jobs.stream as stream
from smalti.cli import main
seen = []
def told(entry, prepare=stream._prepare, **rest):
    if not seen:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        seen.append(print("first", time.monotonic() - begin, peak, file=sys.stderr, flush=True))
    return prepare(entry, **rest)
stream._prepare = told
main.main()
"""


def entries(bench: Bench, seed: int, scale: float) -> dict[str, Any]:
    """A folder of a million entries: the time to the first picture, a stop, and going on."""
    found, source, out = Findings(), _made(bench.folder / "entries"), bench.folder / "entries-out"
    count = max(1000, int(ENTRIES * scale))
    good = source / "0000000.jpg"
    good.write_bytes(kit.picture_bytes(1))
    linked = 0
    for number in range(1, count):
        path = source / f"{number:07}.{'png' if number % 7 == 0 else 'jpg'}"
        if number % 2 and linked < 60_000:
            os.link(good, path)
            linked += 1
        else:
            path.touch()
    command = kit.command(bench.model, source, out)
    command[2] = FIRST_PICTURE.format(source=str(kit.SOURCE))
    figures: dict[str, Any] = {"entries": count}
    for name, wanted in (("start", 200), ("go on", 400)):
        process = kit.start(command)
        with process:
            assert process.stderr is not None
            line = next((text for text in process.stderr if text.startswith("first")), "first 999 999999")
            _, seconds, megabytes = line.split()
            kit.wait_for_results(out, wanted, 120)
            begin = time.monotonic()
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)
        figures[f"{name} s"], figures[f"{name} MB"] = round(float(seconds), 1), int(megabytes)
        figures[f"{name}: stop s"] = round(time.monotonic() - begin, 1)
        found.expect(float(seconds) < 60 and int(megabytes) < 500, f"{name}: {seconds} s, {megabytes} MB")
        found.expect(process.returncode == ExitCode.INTERRUPTED, f"{name}: exit code {process.returncode}")
        found.expect(figures[f"{name}: stop s"] <= 10, f"{name}: the stop took {figures[f'{name}: stop s']} s")
    figures["finished before the stop"] = kit.journal_lines(out)
    return found.result(**figures)


def _numbers(scale: float, count: int) -> list[int]:
    """Return the call numbers to try: 1 to ``count``, or fewer spread over them."""
    step = max(1, round(1 / scale)) if scale < 1 else 1
    return list(range(1, count + 1, step))


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
