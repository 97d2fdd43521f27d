"""What an offline model file says about itself: inputs, outputs, sizes, steps; strictly checked both ways.

Every shape and size is an index into ``dims``, a straight-line program over 64-bit integers whose only unknowns are
the ``symbols`` (image height and width, for instance).  A static model's program has constants only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeVar

from smalti.artifact.format import MAX_MANIFEST_BYTES
from smalti.errors import CompilerError, DamagedModelError
from smalti.numerics import DType

MANIFEST_FORMAT = "smalti-model-1"
MAX_RANK = 16
MAX_NAME = 4096
_INT64 = 2**63

JsonObject = dict[str, Any]
T = TypeVar("T")


class DimOp(Enum):
    """An instruction of the dims program.  The value is its name in the file."""

    CONST = "const"
    SYMBOL = "symbol"
    ADD = "add"
    SUB = "sub"
    MUL = "mul"
    FLOORDIV = "floordiv"
    MOD = "mod"
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

    @property
    def counter_count(self) -> int:
        """Number of 32-bit counters the code needs: items taken and items done of each step."""
        return 32 + 16 * len(self.steps)

    def to_json(self) -> bytes:
        """Return the canonical JSON text (sorted keys, no spaces): equal manifests give equal bytes.

        Raises:
            CompilerError: the manifest breaks a rule that the reader enforces.
        """
        record = {
            "format": MANIFEST_FORMAT,
            "producer": self.producer,
            "graph": self.graph,
            "precision": self.precision,
            "target": self.target,
            "features": list(self.features),
            "batch_size": self.batch_size,
            "shape_mutable": self.shape_mutable,
            "inputs": [_tensor_json(t) for t in self.inputs],
            "outputs": [_tensor_json(t) for t in self.outputs],
            "symbols": [
                {"name": s.name, "min": s.minimum, "max": s.maximum, "multiple": s.multiple} for s in self.symbols
            ],
            "dims": [[i.op.value, i.a, i.b] if i.op.is_binary else [i.op.value, i.a] for i in self.dims],
            "arena": [_buffer_json(b) for b in self.arena],
            "steps": [_step_json(s) for s in self.steps],
            "preprocess": self.preprocess,
            "labels": None if self.labels is None else list(self.labels),
            "quantisation": self.quantisation,
            "report": self.report,
            "entry": self.entry,
            "team": {"drive": self.team.drive, "serve": self.team.serve},
        }
        try:
            text = json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")
            again = parse_manifest(text)
        except (TypeError, ValueError, RecursionError, DamagedModelError) as error:
            raise CompilerError(f"the manifest cannot be written: {error}") from error
        if again.inputs != self.inputs or again.dims != self.dims or len(text) > MAX_MANIFEST_BYTES:
            raise CompilerError("the manifest does not survive being written and read")
        return text


def parse_manifest(data: bytes) -> Manifest:
    """Read and check a manifest: schema, types, every index, no unknown or repeated key.

    Raises:
        DamagedModelError: it breaks a rule; the message names the place.
    """
    try:
        record = json.loads(
            data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite
        )
    except DamagedModelError:
        raise
    except (ValueError, RecursionError) as error:
        raise _bad("is not JSON") from error
    if not isinstance(record, dict):
        raise _bad("is not a JSON object")
    take = _Taker(record)
    if take("format", _text) != MANIFEST_FORMAT:
        raise _bad("has an unknown format name")
    dims = take("dims", _list_of(_dim))
    symbols = take("symbols", _list_of(_symbol))
    steps = take("steps", _list_of(_step))
    manifest = Manifest(
        target=take("target", _text),
        features=take("features", _list_of(_text)),
        inputs=take("inputs", _list_of(_tensor)),
        outputs=take("outputs", _list_of(_tensor)),
        dims=dims,
        steps=steps,
        entry=take("entry", _natural),
        team=take("team", _team),
        symbols=symbols,
        arena=take("arena", _list_of(_buffer)),
        precision=take("precision", _text),
        batch_size=take("batch_size", _optional(_positive)),
        shape_mutable=take("shape_mutable", _flag),
        labels=take("labels", _optional(_list_of(_text))),
        producer=take("producer", _object),
        graph=take("graph", _object),
        preprocess=take("preprocess", _object),
        quantisation=take("quantisation", _object),
        report=take("report", _object),
    )
    take.finish()
    _check(manifest)
    return manifest


def _check(m: Manifest) -> None:
    if not m.inputs or not m.outputs or not m.steps:
        raise _bad("has no inputs, no outputs or no steps")
    for at, instr in enumerate(m.dims):
        if instr.op.is_binary and not (instr.a < at and instr.b < at):
            raise _bad(f"uses a size before it is computed (dims[{at}])")
        if instr.op is DimOp.SYMBOL and instr.a >= len(m.symbols):
            raise _bad(f"uses a symbol that does not exist (dims[{at}])")
    count = len(m.dims)
    for where, indices in (
        *((f"inputs[{i}]", t.shape) for i, t in enumerate(m.inputs)),
        *((f"outputs[{i}]", t.shape) for i, t in enumerate(m.outputs)),
        *((f"steps[{i}]", (*s.shape, s.macs, s.bytes, *s.inner)) for i, s in enumerate(m.steps)),
        *((f"arena[{i}]", (b.size,)) for i, b in enumerate(m.arena)),
    ):
        if any(index >= count for index in indices):
            raise _bad(f"uses a size that does not exist ({where})")
    for i, buffer in enumerate(m.arena):
        if not buffer.first <= buffer.last < len(m.steps):
            raise _bad(f"has a buffer with impossible steps (arena[{i}])")
    for what, names in (
        ("inputs", [t.name for t in m.inputs]),
        ("outputs", [t.name for t in m.outputs]),
        ("symbols", [s.name for s in m.symbols]),
        ("features", list(m.features)),
    ):
        if len(set(names)) != len(names):
            raise _bad(f"names two of its {what} alike")
    if list(m.features) != sorted(m.features):
        raise _bad("lists its features out of order")
    bound = {m.dims[i].a for t in m.inputs for i in t.shape if m.dims[i].op is DimOp.SYMBOL}
    if bound != set(range(len(m.symbols))):
        raise _bad("has a symbol that no input shape gives")


class _Taker:
    """Takes each key of a JSON object once and refuses what is missing or left over."""

    def __init__(self, record: Mapping[str, Any], where: str = "") -> None:
        self._left = dict(record)
        self._where = where

    def __call__(self, key: str, read: Callable[[Any, str], T]) -> T:
        path = f"{self._where}.{key}" if self._where else key
        if key not in self._left:
            raise _bad(f"lacks {path}")
        return read(self._left.pop(key), path)

    def finish(self) -> None:
        if self._left:
            key = min(self._left)
            raise _bad(f"has an unknown key {key[:80]!r}" + (f" in {self._where}" if self._where else ""))


def _bad(what: str) -> DamagedModelError:
    return DamagedModelError(f"the file is damaged: its manifest {what}")


def _unique(pairs: Sequence[tuple[str, Any]]) -> JsonObject:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise _bad("repeats a key")
    return record


def _no_constant(text: str) -> float:
    raise _bad(f"holds {text}")


def _finite(text: str) -> float:
    value = float(text)
    if value - value != 0:
        raise _bad("holds a number that is too large")
    return value


def _integer(value: Any, where: str) -> int:
    if type(value) is not int or not -_INT64 <= value < _INT64:
        raise _bad(f"needs a 64-bit integer at {where}")
    return value


def _natural(value: Any, where: str) -> int:
    if _integer(value, where) < 0:
        raise _bad(f"has a negative number at {where}")
    return int(value)


def _positive(value: Any, where: str) -> int:
    if _integer(value, where) < 1:
        raise _bad(f"needs a positive number at {where}")
    return int(value)


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_NAME:
        raise _bad(f"needs a text of at most {MAX_NAME} characters at {where}")
    return value


def _flag(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise _bad(f"needs true or false at {where}")
    return value


def _object(value: Any, where: str) -> JsonObject:
    if not isinstance(value, dict):
        raise _bad(f"needs an object at {where}")
    return value


def _list_of(read: Callable[[Any, str], T]) -> Callable[[Any, str], tuple[T, ...]]:
    def read_list(value: Any, where: str) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise _bad(f"needs a list at {where}")
        return tuple(read(item, f"{where}[{i}]") for i, item in enumerate(value))

    return read_list


def _optional(read: Callable[[Any, str], T]) -> Callable[[Any, str], T | None]:
    return lambda value, where: None if value is None else read(value, where)


def _taker(value: Any, where: str) -> _Taker:
    return _Taker(_object(value, where), where)


def _shape(value: Any, where: str) -> tuple[int, ...]:
    shape = _list_of(_natural)(value, where)
    if len(shape) > MAX_RANK:
        raise _bad(f"has more than {MAX_RANK} dimensions at {where}")
    return shape


def _dtype(value: Any, where: str) -> DType:
    try:
        return DType(_text(value, where))
    except ValueError:
        raise _bad(f"has an unknown element type at {where}") from None


def _dim(value: Any, where: str) -> DimInstr:
    if not isinstance(value, list) or not value:
        raise _bad(f"needs an instruction at {where}")
    try:
        op = DimOp(_text(value[0], where))
    except ValueError:
        raise _bad(f"has an unknown instruction at {where}") from None
    if len(value) != (3 if op.is_binary else 2):
        raise _bad(f"has an instruction with the wrong number of operands at {where}")
    if op is DimOp.CONST:
        return DimInstr(op, _integer(value[1], where))
    return DimInstr(op, *(_natural(operand, where) for operand in value[1:]))


def _symbol(value: Any, where: str) -> Symbol:
    take = _taker(value, where)
    symbol = Symbol(
        take("name", _text), take("min", _positive), take("max", _optional(_positive)), take("multiple", _positive)
    )
    take.finish()
    if symbol.maximum is not None and symbol.maximum < symbol.minimum:
        raise _bad(f"has an empty range at {where}")
    return symbol


def _tensor(value: Any, where: str) -> TensorSpec:
    take = _taker(value, where)
    tensor = TensorSpec(take("name", _text), take("dtype", _dtype), take("shape", _shape))
    take.finish()
    return tensor


def _buffer(value: Any, where: str) -> ArenaBuffer:
    take = _taker(value, where)
    buffer = ArenaBuffer(
        take("name", _text),
        take("size", _natural),
        take("first", _natural),
        take("last", _natural),
        take("per_thread", _flag),
    )
    take.finish()
    return buffer


def _team(value: Any, where: str) -> TeamEntries:
    take = _taker(value, where)
    team = TeamEntries(take("drive", _natural), take("serve", _natural))
    take.finish()
    return team


def _step(value: Any, where: str) -> Step:
    take = _taker(value, where)
    step = Step(
        take("name", _text),
        take("kernel", _text),
        take("op", _text),
        take("shape", _shape),
        take("macs", _natural),
        take("bytes", _natural),
        take("inner", _list_of(_natural)),
    )
    take.finish()
    return step


def _tensor_json(tensor: TensorSpec) -> JsonObject:
    return {"name": tensor.name, "dtype": tensor.dtype.value, "shape": list(tensor.shape)}


def _buffer_json(buffer: ArenaBuffer) -> JsonObject:
    return {
        "name": buffer.name,
        "size": buffer.size,
        "first": buffer.first,
        "last": buffer.last,
        "per_thread": buffer.per_thread,
    }


def _step_json(step: Step) -> JsonObject:
    return {
        "name": step.name,
        "kernel": step.kernel,
        "op": step.op,
        "shape": list(step.shape),
        "macs": step.macs,
        "bytes": step.bytes,
        "inner": list(step.inner),
    }
