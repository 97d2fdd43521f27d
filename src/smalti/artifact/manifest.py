"""What an offline model file says about itself: inputs, outputs, sizes, steps.  ``schema.py`` reads and writes it.

Every shape and size is an index into ``dims``, a straight-line program over 64-bit integers whose only unknowns are
the ``symbols`` (image height and width, for instance).  A static model's program has constants only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from smalti.numerics import DType
from smalti.strict_json import JsonObject

MAX_RANK = 16
BUILT_IN_KEY: Final = "built_in"
"""In the object ``preprocess``: what a build put around a graph that holds only a network, if anything."""


class DimOp(Enum):
    """An instruction of the dims program.  The value is its name in the file."""

    CONST = "const"
    SYMBOL = "symbol"
    ADD = "add"
    MUL = "mul"
    FLOORDIV = "floordiv"
    MAX = "max"
    MIN = "min"

    @property
    def is_binary(self) -> bool:
        """Whether the operands are indices of two earlier instructions."""
        return self not in (DimOp.CONST, DimOp.SYMBOL)


@dataclass(frozen=True, slots=True)
class DimInstr:
    """One instruction: the constant ``a``, symbol number ``a``, or an operation on earlier values ``a`` and ``b``."""

    op: DimOp
    a: int
    b: int = 0


@dataclass(frozen=True, slots=True)
class Symbol:
    """A size bound by the input shapes: a multiple of ``multiple`` within ``[minimum, maximum]`` (None: no limit)."""

    name: str
    minimum: int = 1
    maximum: int | None = None
    multiple: int = 1


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A graph input or output.  ``shape`` holds indices into the dims program."""

    name: str
    dtype: DType
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ArenaBuffer:
    """A temporary of ``dims[size]`` bytes that holds its values from step ``first`` to step ``last``, inclusive.

    A ``per_thread`` buffer has that many bytes for each thread, one thread's part behind the other's.
    """

    name: str
    size: int
    first: int
    last: int
    per_thread: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the code: the next begins when all its items are done.  All its numbers are dims indices.

    ``inner`` are the sizes inside a fused step that its ``shape`` does not show; like those, they must be at least 1.
    """

    name: str
    kernel: str
    op: str
    shape: tuple[int, ...]
    macs: int
    bytes: int
    inner: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class TeamEntries:
    """Offsets, in the code section, of the functions that run the model with helper threads and that serve as one."""

    drive: int
    serve: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything about a model but its constants and its code.

    ``batch_size`` is the leading dimension of inputs and outputs as users see them (None: any; the code itself handles
    one image).  ``entry`` is the offset of the entry function in the code section, ``team`` of those that run it with
    helper threads.  ``producer``, ``graph``, ``preprocess``, ``quantisation`` and ``report`` are free-form JSON
    objects.
    """

    target: str
    features: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    dims: tuple[DimInstr, ...]
    steps: tuple[Step, ...]
    entry: int
    team: TeamEntries
    symbols: tuple[Symbol, ...] = ()
    arena: tuple[ArenaBuffer, ...] = ()
    precision: str = "force_float32"
    batch_size: int | None = 1
    shape_mutable: bool = False
    labels: tuple[str, ...] | None = None
    producer: JsonObject = field(default_factory=dict)
    graph: JsonObject = field(default_factory=dict)
    preprocess: JsonObject = field(default_factory=dict)
    quantisation: JsonObject = field(default_factory=dict)
    report: JsonObject = field(default_factory=dict)

    @property
    def code_offsets(self) -> tuple[int, ...]:
        """Every offset in the code section."""
        return (self.entry, self.team.drive, self.team.serve)
