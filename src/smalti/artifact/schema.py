"""The keys of a manifest: the one table from which it is read and written, and from which its page is made.

Reading is strict: types, unknown, missing and repeated keys, every index.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from smalti.artifact.format import MAX_MANIFEST_BYTES
from smalti.artifact.manifest import (
    MAX_RANK,
    ArenaBuffer,
    DimInstr,
    DimOp,
    Manifest,
    Step,
    Symbol,
    TeamEntries,
    TensorSpec,
)
from smalti.artifact.rules import check
from smalti.errors import CompilerError, DamagedModelError
from smalti.numerics import DType
from smalti.strict_json import (
    Fields,
    JsonFault,
    Read,
    document,
    flag,
    integer,
    list_of,
    natural,
    obj,
    optional,
    positive,
    short_text,
)

MANIFEST_FORMAT = "smalti-model-1"


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True, slots=True)
class Kind:
    """How a value stands in the file: in the words of the page, as a reader and as a writer."""

    shown: str
    read: Read[Any]
    write: Callable[[Any], Any] = _same

    def many(self) -> Kind:
        """Return the kind of a list of these."""
        return Kind(f"[{self.shown}, ...]", list_of(self.read), lambda values: [self.write(value) for value in values])

    def or_null(self) -> Kind:
        """Return the kind that takes null as well."""
        write = self.write
        return Kind(f"{self.shown} or null", optional(self.read), lambda value: None if value is None else write(value))


@dataclass(frozen=True, slots=True)
class Key:
    """A key of an object, the attribute of the Python record where that is another word, and what it means."""

    name: str
    kind: Kind
    meaning: str
    attribute: str = ""

    @property
    def field(self) -> str:
        """The attribute of the record."""
        return self.attribute or self.name


def _read(make: Callable[..., Any], keys: tuple[Key, ...], value: Any, where: str) -> Any:
    take = Fields(value, where)
    made = make(**{key.field: take(key.name, key.kind.read) for key in keys})
    take.finish()
    return made


def _write(keys: tuple[Key, ...], record: Any) -> dict[str, Any]:
    return {key.name: key.kind.write(getattr(record, key.field)) for key in keys}


def _record(make: Callable[..., Any], keys: tuple[Key, ...]) -> Kind:
    return Kind(
        "{" + ", ".join(f'"{key.name}": {key.kind.shown}' for key in keys) + "}",
        lambda value, where: _read(make, keys, value, where),
        lambda record: _write(keys, record),
    )


# ---- single values ---------------------------------------------------------------------------------------------------


def _shape(value: Any, where: str) -> tuple[int, ...]:
    shape = list_of(natural)(value, where)
    if len(shape) > MAX_RANK:
        raise JsonFault(f"has more than {MAX_RANK} dimensions at {where}")
    return shape


def _dtype(value: Any, where: str) -> DType:
    try:
        return DType(short_text(value, where))
    except ValueError as error:
        raise _known_as(error, f"has an unknown element type at {where}") from None


def _dim(value: Any, where: str) -> DimInstr:
    if not isinstance(value, list) or not value:
        raise JsonFault(f"needs an instruction at {where}")
    try:
        op = DimOp(short_text(value[0], where))
    except ValueError as error:
        raise _known_as(error, f"has an unknown instruction at {where}") from None
    if len(value) != (3 if op.is_binary else 2):
        raise JsonFault(f"has an instruction with the wrong number of operands at {where}")
    if op is DimOp.CONST:
        return DimInstr(op, integer(value[1], where))
    return DimInstr(op, *(natural(operand, where) for operand in value[1:]))


def _known_as(error: ValueError, phrase: str) -> JsonFault:
    """Return the fault itself, or one for a text that no member of an enum has."""
    return error if isinstance(error, JsonFault) else JsonFault(phrase)


def _dim_json(instr: DimInstr) -> list[str | int]:
    return [instr.op.value, instr.a, instr.b] if instr.op.is_binary else [instr.op.value, instr.a]


def _symbol(value: Any, where: str) -> Symbol:
    symbol: Symbol = _read(Symbol, SYMBOL_KEYS, value, where)
    if symbol.maximum is not None and symbol.maximum < symbol.minimum:
        raise JsonFault(f"has an empty range at {where}")
    return symbol


_TEXT, _FLAG, _OBJECT = Kind("text", short_text), Kind("bool", flag), Kind("object", obj)
_NATURAL, _POSITIVE = Kind("number", natural), Kind("number", positive)
_DIMS_INDEX = Kind("dims index", natural)
_SHAPE = Kind("[dims index, ...]", _shape, list)

# ---- the parts -------------------------------------------------------------------------------------------------------

SYMBOL_KEYS = (
    Key("name", _TEXT, "of an open size, as users see it: `H`"),
    Key("min", _POSITIVE, "smallest value", "minimum"),
    Key("max", _POSITIVE.or_null(), "largest value; null: no limit", "maximum"),
    Key("multiple", _POSITIVE, "what the value must be a multiple of"),
)
TENSOR_KEYS = (
    Key("name", _TEXT, "`ImageTensor:0`"),
    Key("dtype", Kind("text", _dtype, lambda dtype: dtype.value), "element type, `float32`"),
    Key("shape", _SHAPE, "for one image"),
)
BUFFER_KEYS = (
    Key("name", _TEXT, "of the tensor or of the scratch memory"),
    Key("size", _DIMS_INDEX, "bytes"),
    Key("first", Kind("step", natural), "the step that writes it first"),
    Key("last", Kind("step", natural), "the last step that uses it"),
    Key("per_thread", _FLAG, "whether it needs its size once for each thread"),
)
STEP_KEYS = (
    Key("name", _TEXT, "of the node whose value the step computes"),
    Key("kernel", _TEXT, "what computes it"),
    Key("op", _TEXT, "the operation"),
    Key("shape", _SHAPE, "of the result"),
    Key("macs", _DIMS_INDEX, "multiplications with an addition"),
    Key("bytes", _DIMS_INDEX, "read and written"),
    Key("inner", Kind("[dims index, ...]", list_of(natural), list), "sizes inside a fused step"),
)
TEAM_KEYS = (
    Key("drive", _NATURAL, "offset in the code section of the function that runs the model with threads"),
    Key("serve", _NATURAL, "offset of the one that is a helper thread"),
)

_SYMBOL = Kind(_record(Symbol, SYMBOL_KEYS).shown, _symbol, lambda record: _write(SYMBOL_KEYS, record))
_TENSORS = _record(TensorSpec, TENSOR_KEYS).many()

# What is wrong is named in this order, here and in the C library.
MANIFEST_KEYS = (
    Key("dims", Kind("instruction", _dim, _dim_json).many(), "a program over 64-bit integers, see below"),
    Key("symbols", _SYMBOL.many(), "sizes that the input shapes give"),
    Key("steps", _record(Step, STEP_KEYS).many(), "the parts of the code, in order"),
    Key("target", _TEXT, "target string"),
    Key("features", _TEXT.many(), "sorted LLVM names of every CPU feature the code may use"),
    Key("inputs", _TENSORS, "of the graph"),
    Key("outputs", _TENSORS, "of the graph"),
    Key("entry", _NATURAL, "offset of the entry function in the code section"),
    Key("team", _record(TeamEntries, TEAM_KEYS), "the two functions below that run the model with threads"),
    Key("arena", _record(ArenaBuffer, BUFFER_KEYS).many(), "temporaries, alive from step to step inclusive"),
    Key("precision", _TEXT, "precision mode"),
    Key("batch_size", _POSITIVE.or_null(), "leading dimension as users see it; null: any"),
    Key("shape_mutable", _FLAG, "whether any symbol exists"),
    Key("labels", _TEXT.many().or_null(), "class names"),
    Key("producer", _OBJECT, "free-form: versions"),
    Key("graph", _OBJECT, "free-form: the source graph"),
    Key("preprocess", _OBJECT, "free-form: image preparation"),
    Key("quantisation", _OBJECT, "free-form: the calibration"),
    Key("report", _OBJECT, "free-form: import report"),
)

# ---- the whole -------------------------------------------------------------------------------------------------------


def parse_manifest(data: bytes) -> Manifest:
    """Read and check a manifest.  The bytes may be anything.

    Raises:
        DamagedModelError: it breaks a rule; the message names the place.
    """
    try:
        take = Fields(document(data, max_bytes=MAX_MANIFEST_BYTES))
        if take("format", short_text) != MANIFEST_FORMAT:
            raise JsonFault("has an unknown format name")
        manifest = Manifest(**{key.field: take(key.name, key.kind.read) for key in MANIFEST_KEYS})
        take.finish()
        check(manifest)
    except JsonFault as fault:
        raise DamagedModelError(f"the file is damaged: its manifest {fault.phrase}") from fault
    return manifest


def manifest_json(manifest: Manifest) -> bytes:
    """Return the canonical JSON text (sorted keys, no spaces): equal manifests give equal bytes.

    Raises:
        CompilerError: the manifest breaks a rule that the reader enforces.
    """
    record = {"format": MANIFEST_FORMAT, **_write(MANIFEST_KEYS, manifest)}
    try:
        text = json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")
        again = parse_manifest(text)
    except (TypeError, ValueError, RecursionError, DamagedModelError) as error:
        raise CompilerError(f"the manifest cannot be written: {error}") from error
    if again.inputs != manifest.inputs or again.dims != manifest.dims:
        raise CompilerError("the manifest does not survive being written and read")
    return text
