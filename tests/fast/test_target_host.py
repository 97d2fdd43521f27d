"""What is read from a machine, on made-up machines: cgroup quotas, caches, feature lists."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from smalti.errors import UsageError
from smalti.target import host as host_module
from smalti.target.host import Host, missing_features, native_target, read_host, resolve_target, usable_cpus
from smalti.target.target import Caches, Target

_NO_CACHES = Caches(0, 0, 0)


def _machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture
def eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)


@pytest.mark.usefixtures("eight_cpus")
@pytest.mark.parametrize(
    ("files", "count"),
    [
        ({}, 8),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, 8),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "10000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "6400000 100000\n"}, 8),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "300000 100000\n"}, 3),
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/b/cpu.max": "400000 100000\n",
                "sys/fs/cgroup/a/cpu.max": "300000 100000\n",
            },
            3,
        ),
        ({"proc/self/cgroup": "0::/../x\n", "sys/fs/cgroup/cpu.max": "100000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "what is this\n"}, 8),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "5 0\n"}, 8),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/docker/1\n1:name=systemd:/\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.cfs_quota_us": "50000\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.cfs_period_us": "100000\n",
            },
            1,
        ),
        (
            {
                "proc/self/cgroup": "1:cpu:/docker/1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "250000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
        (
            {
                "proc/self/cgroup": "1:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            8,
        ),
    ],
)
def test_usable_cpus(tmp_path: Path, files: dict[str, str], count: int) -> None:
    found = usable_cpus(_machine(tmp_path, files))
    assert found.count == count
    assert found.reason.startswith(f"{count}: affinity mask allows 8 of 16 CPUs, ")
    assert ("no cgroup quota" in found.reason) == (count == 8 and "6400000" not in str(files))


def test_an_affinity_mask_that_a_sandbox_does_not_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(pid: int) -> set[int]:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    root = _machine(tmp_path, {})
    monkeypatch.setattr(os, "sched_getaffinity", refused, raising=False)
    assert usable_cpus(root).count == os.cpu_count()


def test_this_machine() -> None:
    host = read_host()
    assert host.features and host.model
    target = native_target()
    assert not missing_features(target.features)
    assert resolve_target("native") == target
    assert set(resolve_target("generic").features) <= set(target.features)
    assert 1 <= usable_cpus().count <= len(os.sched_getaffinity(0))


def test_linux_names_and_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_module, "arch", lambda: "aarch64")
    files = {"proc/cpuinfo": "processor : 0\nFeatures\t: fp asimd asimddp i8mm\n\nprocessor : 1\nFeatures : sve\n"}
    base = "sys/devices/system/cpu/cpu0/cache"
    for index, (level, kind, size) in enumerate(
        [("1", "Data", "48K"), ("1", "Instruction", "32K"), ("2", "Unified", "2M"), ("3", "Unified", "odd")]
    ):
        folder = f"{base}/index{index}"
        files |= {f"{folder}/level": level, f"{folder}/type": kind, f"{folder}/size": size}
    host = read_host(_machine(tmp_path, files))
    assert host.features == {"fp-armv8", "neon", "dotprod", "i8mm"}
    assert host.caches == Caches(48 * 1024, 2 * 1024 * 1024, 0)
    assert str(native_target(host)) == "aarch64+dotprod+i8mm"


def test_nothing_readable(tmp_path: Path) -> None:
    host = read_host(tmp_path)
    assert host.features == frozenset() and host.model == "unknown" and host.caches == _NO_CACHES


@pytest.mark.parametrize("name", ["x86-64-v2", "x86-64-v3", "x86-64-v3+vnni", "x86-64-v4", "x86-64-v4+bf16+vnni"])
def test_native_is_the_best_that_fits(name: str) -> None:
    features = frozenset(Target.parse(name).features)
    assert str(native_target(Host("x86_64", "m", features, _NO_CACHES))) == name


def test_too_old() -> None:
    features = frozenset(Target.parse("x86-64-v2").features) - {"sse4.2"}
    with pytest.raises(UsageError, match=r"Old One\) lacks sse4.2"):
        native_target(Host("x86_64", "Old One", features, _NO_CACHES))


def test_cpuid_overrules_cpuinfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_module, "arch", lambda: "x86_64")
    monkeypatch.setattr(host_module, "_refused_by_cpuid", lambda: {"avx512f"})
    host = read_host(_machine(tmp_path, {"proc/cpuinfo": "model name : m\nflags : avx512f avx2 sse4_1\n"}))
    assert host.features == {"avx2", "sse4.1"}
