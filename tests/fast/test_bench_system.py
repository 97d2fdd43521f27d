"""Readers of the machine: on made-up system trees, and honest about what cannot be read."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from smalti.bench.system import Sampler, on_cpus, parse_devices, read_device
from smalti.errors import UsageError
from smalti.jobs.watch import UNKNOWN_LOAD

ALLOWED = sorted(os.sched_getaffinity(0))


def put(root: Path, path: str, text: str) -> Path:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_devices() -> None:
    assert parse_devices(None) is None and parse_devices("cpu") is None
    assert parse_devices(f"cpu:{ALLOWED[0]}") == (ALLOWED[0],)
    assert parse_devices(f"cpu:{ALLOWED[0]}-{ALLOWED[0]},{ALLOWED[0]}") == (ALLOWED[0],)


@pytest.mark.parametrize("text", ["gpu", "cpu:", "cpu:x", "cpu:1-", "cpu:-1", "cpu:2-1", "cpu:99999", "cpu:0;1", "0"])
def test_wrong_devices(text: str) -> None:
    with pytest.raises(UsageError, match="--devices"):
        parse_devices(text)


def test_affinity_is_given_back() -> None:
    with on_cpus((ALLOWED[-1],)):
        assert os.sched_getaffinity(0) == {ALLOWED[-1]}
        assert read_device().cpus == (ALLOWED[-1],) and read_device().usable == 1
    assert sorted(os.sched_getaffinity(0)) == ALLOWED
    with on_cpus(None):
        assert sorted(os.sched_getaffinity(0)) == ALLOWED


def test_nothing_readable_is_none(tmp_path: Path) -> None:
    with Sampler(tmp_path, 0.005) as sampler:
        time.sleep(0.03)
    seen = sampler.result()
    assert seen.cpu_percent is not None and seen.cpu_percent.minimum >= 0
    assert seen.rss_mb is None and seen.power_w is None and seen.temperature_c is None
    assert seen.load == UNKNOWN_LOAD
    record = seen.to_json()
    assert record["power_w"] is None and record["temperature_c"] is None
    assert read_device(tmp_path).governor is None and read_device(tmp_path).cpu == "unknown"


def test_power_memory_and_temperature_of_a_made_up_machine(tmp_path: Path) -> None:
    put(tmp_path, "proc/self/statm", "9000 1000 300 1 0 0 0")
    for package in range(2):
        put(tmp_path, f"sys/class/powercap/intel-rapl:{package}/name", f"package-{package}\n")
        put(tmp_path, f"sys/class/powercap/intel-rapl:{package}/max_energy_range_uj", "1000000\n")
        put(tmp_path, f"sys/class/powercap/intel-rapl:{package}/energy_uj", "5\n")
    put(tmp_path, "sys/class/powercap/intel-rapl:0:0/name", "core\n")
    put(tmp_path, "sys/class/powercap/intel-rapl:0:0/max_energy_range_uj", "1000000\n")
    put(tmp_path, "sys/class/powercap/intel-rapl:0:0/energy_uj", "7\n")
    put(tmp_path, "sys/class/hwmon/hwmon0/name", "nvme\n")
    put(tmp_path, "sys/class/hwmon/hwmon0/temp1_input", "91000\n")
    put(tmp_path, "sys/class/hwmon/hwmon1/name", "k10temp\n")
    put(tmp_path, "sys/class/hwmon/hwmon1/temp1_input", "45500\n")
    put(tmp_path, "sys/class/thermal/thermal_zone0/type", "x86_pkg_temp\n")
    put(tmp_path, "sys/class/thermal/thermal_zone0/temp", "44000\n")
    with Sampler(tmp_path, 0.005) as sampler:
        time.sleep(0.05)
    seen = sampler.result()
    assert seen.temperature_c is not None and seen.temperature_c.maximum == 45.5
    assert seen.rss_mb is not None and seen.rss_mb.median == 1000 * os.sysconf("SC_PAGE_SIZE") / 1e6
    assert seen.power_w is not None and seen.power_w.maximum == 0.0  # the counters stand still
    assert seen.samples == seen.rss_mb.count


def test_an_energy_counter_that_starts_again(tmp_path: Path) -> None:
    put(tmp_path, "sys/class/powercap/intel-rapl:0/name", "package-0\n")
    put(tmp_path, "sys/class/powercap/intel-rapl:0/max_energy_range_uj", "1000000\n")
    counter = put(tmp_path, "sys/class/powercap/intel-rapl:0/energy_uj", "900000\n")
    with Sampler(tmp_path, 0.1) as sampler:
        time.sleep(0.02)
        counter.write_text("400000\n")  # half a joule later, over the end
        time.sleep(0.1)
    seen = sampler.result()
    assert seen.power_w is not None and 0 < seen.power_w.maximum <= 0.5 / 0.1


def test_other_load_and_steal_are_counted_on_the_used_cpus_only(tmp_path: Path) -> None:
    stat = put(tmp_path, "proc/stat", "\n".join(f"cpu{cpu} 100 0 0 500 0 0 0 0 0 0" for cpu in [*ALLOWED, 9999]))
    with Sampler(tmp_path, 1.0) as sampler:
        later = [f"cpu{cpu} 10000 0 0 500 0 0 0 20000 0 0" for cpu in ALLOWED]
        stat.write_text("\n".join([*later, "cpu9999 9999999 0 0 0 0 0 0 9999999 0 0"]))
        time.sleep(0.01)
    seen = sampler.result()
    load = seen.load
    assert load.is_noisy and load.others_percent is not None and load.steal_percent is not None
    assert 0 < load.others_percent < load.steal_percent < 3 * load.others_percent
