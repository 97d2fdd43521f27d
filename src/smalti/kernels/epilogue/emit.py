"""The one interpreter of epilogues: from the sums of a group of vectors to elements in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import assert_never

import numpy as np
from llvmlite import ir

from smalti.errors import CompilerError
from smalti.kernels.elementwise.functions import unary_value
from smalti.kernels.epilogue.packed import by_channel, load_bytes, to_bytes
from smalti.kernels.epilogue.steps import (
    Add,
    Apply,
    Begin,
    Epilogue,
    Quantise,
    Requantise,
    Residual,
    Scale,
    ScaleAdd,
    Step,
    Table,
)
from smalti.kernels.half.bfloat import narrowed_bfloat16
from smalti.kernels.values import element_of, is_float_type, load_value, number, store_value
from smalti.llvm.builder import F32, I8, I32, I64, Fn, lanes_of, named_intrinsic, scalar_type, vector
from smalti.numerics import DType
from smalti.target.target import Target

Row = Callable[[int], Sequence[ir.Value]]
"""A row of numbers of channels, a vector for each of the group."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the results of a group go: ``channels`` of them from ``result`` on; rows and residual that belong there."""

    result: ir.Value
    channels: int
    row: Row
    residual: ir.Value | None = None


def no_rows(number: int) -> Sequence[ir.Value]:
    """Stand for the rows of an epilogue that takes none.

    Raises:
        CompilerError: it takes one.
    """
    raise CompilerError(f"an epilogue without numbers of channels asks for row {number}")


class Finisher:
    """Emits an epilogue.

    A group is one vector of neighbouring channels, or (for int32 sums) 1, 2 or 4 vectors in pack order.
    """

    def __init__(self, fn: Fn, target: Target, epilogue: Epilogue) -> None:
        self.fn, self.epilogue = fn, epilogue
        self.x86 = target.arch == "x86_64"

    def begins(self, row: Row, zero: Callable[[], Sequence[ir.Value]]) -> Sequence[ir.Value]:
        """Return what the sums of a group begin with."""
        return row(0) if self.epilogue.find(Begin) is not None else zero()

    def store(self, sums: Sequence[ir.Value], place: Place) -> None:
        """Write the steps from sums to results, and store those."""
        values, rows, packed = list(sums), 0, not is_float_type(sums[0].type)
        for step in self.epilogue.steps:
            values = self._step(step, values, place, rows, packed)
            rows += _rows(step)
        self._store(values, place)

    def _step(self, step: Step, values: list[ir.Value], place: Place, row: int, packed: bool) -> list[ir.Value]:
        fn, b = self.fn, self.fn.b
        match step:
            case Begin():
                return values
            case Scale():
                return [b.fmul(_real(fn, v, m.type), m) for v, m in zip(values, place.row(row), strict=True)]
            case Add():
                return [b.fadd(v, a) for v, a in zip(values, place.row(row), strict=True)]
            case ScaleAdd():
                rows = zip(values, place.row(row), place.row(row + 1), strict=True)
                return [fn.fma(v, m, a) for v, m, a in rows]
            case Residual():
                others = self._residual(step, values, place, packed)
                return [b.fadd(v, o) for v, o in zip(values, others, strict=True)]
            case Apply():
                ordered = values if self.epilogue.makes_bytes else by_channel(fn, values)
                return [unary_value(fn, step.fn, v, DType.FLOAT32, step.alpha) for v in ordered]
            case Requantise():
                if packed:
                    return [to_bytes(fn, self.x86, step, values)]
                whole = [_rounded(fn, step, v) for v in values]
                return [_as_bytes(fn, v) for v in whole] if self.epilogue.find(Table) else whole
            case Quantise():
                return [_quantised(fn, step, v) for v in values]
            case Table():
                return [looked_up(fn, step, v) for v in values]
            case _:
                assert_never(step)

    def _residual(self, step: Residual, values: Sequence[ir.Value], place: Place, packed: bool) -> Sequence[ir.Value]:
        if place.residual is None:
            raise CompilerError("an epilogue with a residual needs its address")
        lanes = lanes_of(values[0])
        if packed and step.dtype is DType.UINT8:
            return load_bytes(self.fn, step, place.residual, len(values), lanes, place.channels)
        if packed:
            raise CompilerError("an integer convolution with a float result has no residual")
        fn = self.fn
        value = load_wide(fn, step.dtype, place.residual, lanes, float(step.zero_point))
        return (value if step.scale is None else fn.b.fmul(value, fn.f32(step.scale, lanes)),)

    def _store(self, values: Sequence[ir.Value], place: Place) -> None:
        fn, stored = self.fn, self.epilogue.stored
        if not is_float_type(values[0].type):
            if values[0].type != vector(scalar_type(stored), lanes_of(values[0])):
                raise CompilerError(f"an epilogue that ends in {values[0].type} cannot be stored as {stored.value}")
            fn.store(fn.first_lanes(values[0], place.channels), place.result)
            return
        ordered = values if self.epilogue.find(Apply) else by_channel(fn, values)
        lanes = lanes_of(ordered[0])
        for q, value in enumerate(ordered):
            count = min(lanes, place.channels - q * lanes)
            if count > 0:
                self._store_floats(fn.first_lanes(value, count), fn.at(place.result, q * lanes * stored.itemsize))

    def _store_floats(self, value: ir.Value, address: ir.Value) -> None:
        fn, stored, lanes = self.fn, self.epilogue.stored, lanes_of(value)
        if stored is DType.BFLOAT16 and self.epilogue.native:
            fn.store(narrowed_bfloat16(fn, value), address)
        elif stored.is_float:
            store_value(fn, stored, value, address, lanes)
        else:
            whole = fn.b.fptosi(value, vector(I32, lanes))
            fn.store(fn.b.trunc(whole, vector(scalar_type(stored), lanes)), address)


def _rows(step: Step) -> int:
    return 2 if isinstance(step, ScaleAdd) else int(isinstance(step, (Begin, Scale, Add)))


def _real(fn: Fn, value: ir.Value, wanted: ir.Type) -> ir.Value:
    return value if value.type == wanted else fn.b.sitofp(value, wanted)


def load_wide(fn: Fn, dtype: DType, address: ir.Value, lanes: int, offset: float = 0.0) -> ir.Value:
    """Load elements as floating-point numbers of at least 32 bits, less ``offset``."""
    value = load_value(fn, dtype, address, lanes)
    if not dtype.is_float:
        convert = fn.b.uitofp if dtype is DType.UINT8 else fn.b.sitofp
        value = convert(value, vector(F32, lanes))
    return fn.b.fsub(value, number(value.type, offset)) if offset else value


def _rounded(fn: Fn, step: Requantise, value: ir.Value) -> ir.Value:
    """Return the integers as float32: the next convolution may read them as such from scratch."""
    value = fn.clamp_high(_at_least(fn, value, step.low - step.zero_point), float(step.high - step.zero_point))
    value = fn.intrinsic("llvm.nearbyint", value.type, value)
    return fn.b.fadd(value, fn.f32(float(step.zero_point), lanes_of(value))) if step.zero_point else value


def _at_least(fn: Fn, value: ir.Value, low: float) -> ir.Value:
    """Return ``max(value, low)``; NaN becomes the lowest."""
    bottom = fn.f32(low, lanes_of(value))
    return fn.b.select(fn.b.fcmp_ordered(">", value, bottom), value, bottom)


def _quantised(fn: Fn, step: Quantise, value: ir.Value) -> ir.Value:
    lanes = lanes_of(value)
    if step.scale is not None:
        with np.errstate(over="ignore"):
            reciprocal = float(np.float32(1) / np.float32(step.scale))
        value = fn.b.fmul(value, fn.f32(reciprocal, lanes))
    low, high = (float(limit - step.zero_point) for limit in step.dtype.limits)
    whole = nearest(fn, fn.clamp_high(_at_least(fn, value, low), high))
    if step.zero_point:
        whole = fn.b.add(whole, number(whole.type, step.zero_point))
    return fn.b.trunc(whole, vector(scalar_type(step.dtype), lanes))


def nearest(fn: Fn, value: ir.Value) -> ir.Value:
    """Return float32 values rounded to int32, halves to even (the CPU's default mode); they must be in its range."""
    lanes = lanes_of(value)
    kinds = "i32.f32" if lanes == 1 else f"v{lanes}i32.v{lanes}f32"
    return named_intrinsic(fn, f"llvm.lrint.{kinds}", vector(I32, lanes), value)


def _as_bytes(fn: Fn, value: ir.Value) -> ir.Value:
    """Return whole float32 numbers from 0 to 255 as bytes."""
    lanes = lanes_of(value)
    return fn.b.trunc(fn.b.fptosi(value, vector(I32, lanes)), vector(I8, lanes))


def looked_up(fn: Fn, step: Table, value: ir.Value) -> ir.Value:
    """Return the entries of a table for a vector of bytes (one load for each)."""
    kind, lanes = ir.ArrayType(I8, len(step.values)), lanes_of(value)
    table = ir.Constant(kind, [number(I8, v) for v in step.values])
    name = f"table.{hashlib.sha256(bytes(step.values)).hexdigest()}"
    held = fn.module.globals.get(name)
    if held is None:
        held = ir.GlobalVariable(fn.module, kind, name)
        held.linkage, held.global_constant, held.initializer = "internal", True, table
    if element_of(value.type) != I8:
        raise CompilerError(f"a table of bytes cannot take {value.type}")
    if lanes == 1:
        return fn.load(I8, fn.at(held, fn.b.zext(value, I64)))
    result = ir.Constant(value.type, ir.Undefined)
    for lane in range(lanes):
        at = ir.Constant(I32, lane)
        entry = fn.load(I8, fn.at(held, fn.b.zext(fn.b.extract_element(value, at), I64)))
        result = fn.b.insert_element(result, entry, at)
    return result
