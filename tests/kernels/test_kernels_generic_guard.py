"""The guarded buffers themselves: one element too many, read or written, is noticed."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from kernels.guard import PAGE, GuardedArray, Side, guarded_copy

_TOUCH = """
import ctypes, sys
sys.path[:0] = [p for p in {path!r}]
from kernels.guard import GuardedArray, Side
buffer = GuardedArray((7,), "float32", Side[{side!r}])
address = buffer.address + {offset}
value = ctypes.c_uint8.from_address(address).value
print("read", value)
"""


@pytest.mark.parametrize(("side", "offset"), ((Side.LEFT, -1), (Side.RIGHT, 28)), ids=str)
def test_reading_beside_a_buffer_dies(side: Side, offset: int) -> None:
    code = _TOUCH.format(path=sys.path, side=side.name, offset=offset)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == -11 and not result.stdout


@pytest.mark.parametrize(("side", "offset"), ((Side.LEFT, 0), (Side.RIGHT, 27)), ids=str)
def test_reading_inside_a_buffer_works(side: Side, offset: int) -> None:
    code = _TOUCH.format(path=sys.path, side=side.name, offset=offset)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0 and result.stdout == "read 255\n"


@pytest.mark.parametrize("side", Side, ids=str)
def test_writing_on_the_open_side_is_noticed(side: Side) -> None:
    buffer = guarded_copy(np.arange(5, dtype=np.int16), side)
    assert buffer.slack_is_intact() and (buffer.array == range(5)).all()
    whole, start, size = buffer.slack
    whole[start + size if side is Side.LEFT else start - 1] = 0
    assert not buffer.slack_is_intact()


def test_buffers_of_whole_pages_and_of_nothing() -> None:
    assert GuardedArray((2 * PAGE,), np.uint8).slack_is_intact()
    assert GuardedArray((0, 3), np.float32).array.shape == (0, 3)
    assert np.isnan(GuardedArray((9,), np.float32).array).all()
