"""A run as a timeline for chrome://tracing or ui.perfetto.dev (the Trace Event Format's complete events)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from smalti.bench.layers import LayerTable
from smalti.bench.loop import LoopResult

MAX_REQUESTS = 5000
_REQUESTS, _STEPS = 1, 2


def chrome_trace(result: LoopResult, names: Sequence[str], layers: Sequence[LayerTable]) -> str:
    """Return the timeline as JSON text: one row per caller with the parts of its requests, one per profiled group.

    Only the first 5000 requests are kept. A step is placed where thread 0 began it: what the other threads do inside a
    step is not recorded. Times are microseconds from the beginning of the measured run.
    """
    events: list[dict[str, Any]] = [_name_of("process_name", _REQUESTS, 0, "requests")]
    callers = sorted({record.caller for record in result.records})
    events += [_name_of("thread_name", _REQUESTS, caller, f"caller {caller}") for caller in callers]
    for index, record in enumerate(result.records[:MAX_REQUESTS]):
        at = (record.start_ns - result.begin_ns) / 1e3
        about = {"request": index, "group": names[record.group]}
        for what, ms in (("pre", record.pre_ms), ("compute", record.compute_ms), ("post", record.post_ms)):
            events.append(_event(what, _REQUESTS, record.caller, at, ms, about))
            at += 1e3 * ms
    if layers:
        events.append(_name_of("process_name", _STEPS, 0, "steps of one profiled run, as thread 0 sees them"))
    for row, table in enumerate(layers):
        events.append(_name_of("thread_name", _STEPS, row, table.group))
        at = (table.last_begin_ns - result.begin_ns) / 1e3
        for step in table.last.steps:
            about = {"op": step.op, "kernel": step.kernel, "shape": list(step.shape), "macs": step.macs}
            events.append(_event(step.name, _STEPS, row, at, step.nanoseconds / 1e6, about))
            at += step.nanoseconds / 1e3
    return json.dumps({"displayTimeUnit": "ms", "traceEvents": events}, allow_nan=False)


def _event(name: str, process: int, thread: int, at: float, ms: float, about: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "ph": "X", "pid": process, "tid": thread, "ts": at, "dur": 1e3 * ms, "args": about}


def _name_of(kind: str, process: int, thread: int, name: str) -> dict[str, Any]:
    return {"name": kind, "ph": "M", "pid": process, "tid": thread, "args": {"name": name}}
