"""Workspace placement against an independent overlap check."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from smalti.artifact.manifest import ArenaBuffer
from smalti.runtime.arena import ArenaPlanner, Placement

_BUFFERS = st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 12), st.integers(0, 12)), max_size=24)


def _problem(buffers: list[ArenaBuffer], sizes: list[int], placed: Placement) -> str | None:
    """Play the steps with one owner per 64-byte line; knows nothing of the planner."""
    for buffer, size, offset in zip(buffers, sizes, placed.offsets, strict=True):
        if offset % 64 or offset < 0 or offset + size > placed.total:
            return f"{buffer.name} is misplaced"
    for step in range(14):
        owner: dict[int, str] = {}
        for buffer, size, offset in zip(buffers, sizes, placed.offsets, strict=True):
            if not buffer.first <= step <= buffer.last:
                continue
            for line in range(offset // 64, (offset + size + 63) // 64):
                if owner.setdefault(line, buffer.name) != buffer.name:
                    return f"{buffer.name} and {owner[line]} overlap at step {step}"
    return None


def _lower_bound(buffers: list[ArenaBuffer], sizes: list[int]) -> int:
    rounded = [-(-size // 64) * 64 for size in sizes]
    return max(
        (sum(r for b, r in zip(buffers, rounded, strict=True) if b.first <= s <= b.last) for s in range(14)), default=0
    )


@settings(max_examples=400, deadline=None, derandomize=True)
@given(_BUFFERS)
def test_never_overlaps(raw: list[tuple[int, int, int]]) -> None:
    buffers = [ArenaBuffer(f"b{i}", 0, min(a, b), max(a, b)) for i, (_, a, b) in enumerate(raw)]
    sizes = [size for size, _, _ in raw]
    planner = ArenaPlanner(buffers)
    placed = planner.place(sizes)
    assert _problem(buffers, sizes, placed) is None
    assert _lower_bound(buffers, sizes) <= placed.total <= sum(-(-s // 64) * 64 for s in sizes)
    assert planner.place(sizes) == placed


def test_the_check_can_fail() -> None:
    buffers = [ArenaBuffer("a", 0, 0, 2), ArenaBuffer("b", 0, 2, 3)]
    assert _problem(buffers, [64, 64], Placement((0, 0), 64)) == "b and a overlap at step 2"
    assert _problem(buffers, [64, 64], Placement((0, 32), 128)) == "b is misplaced"
    assert _problem(buffers, [64, 64], Placement((0, 64), 100)) == "b is misplaced"


def test_chain_of_layers_needs_two_neighbours() -> None:
    buffers = [ArenaBuffer(f"b{i}", 0, i, i + 1) for i in range(12)]
    sizes = [1000 * 64 if i % 2 else 10 * 64 for i in range(12)]
    assert ArenaPlanner(buffers).place(sizes).total == 1010 * 64


def test_random_networks_stay_near_the_lower_bound() -> None:
    rng = random.Random(3)
    for _ in range(20):
        buffers, sizes = [], []
        for step in range(12):
            buffers.append(ArenaBuffer(f"b{step}", 0, step, min(13, step + rng.choice([1, 1, 1, 4]))))
            sizes.append(rng.randrange(1, 200) * 640)
        assert ArenaPlanner(buffers).place(sizes).total <= 1.35 * _lower_bound(buffers, sizes)


def test_nothing_to_place() -> None:
    assert ArenaPlanner([]).place([]) == Placement((), 0)
    assert ArenaPlanner([ArenaBuffer("a", 0, 0, 0)]).place([0]) == Placement((0,), 0)
