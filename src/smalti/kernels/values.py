"""Values in registers: loads, stores and constants by element type (bool is ``i1``, 16-bit floats are float32)."""

from __future__ import annotations

from llvmlite import ir

from smalti.errors import CompilerError
from smalti.llvm.builder import F16, F32, F64, I1, I8, I16, I32, I64, Fn, scalar_type, vector
from smalti.numerics import DType
from smalti.target.target import Target

NARROW_FLOATS = frozenset((DType.FLOAT16, DType.BFLOAT16))


def is_signed(dtype: DType) -> bool:
    """Whether integers of this type have a sign."""
    return not dtype.is_unsigned and dtype is not DType.BOOL


def register_type(dtype: DType, lanes: int) -> ir.Type:
    """Return the type that a value of ``dtype`` has while it is computed with."""
    if dtype is DType.BOOL:
        return vector(I1, lanes)
    return vector(F32 if dtype in NARROW_FLOATS else scalar_type(dtype), lanes)


def native_half(target: Target) -> bool:
    """Whether the CPU family has instructions that convert between float16 and float32."""
    return target.has("f16c") or target.vector_bits == 512 or target.arch == "aarch64"


def load_value(fn: Fn, dtype: DType, address: ir.Value, lanes: int) -> ir.Value:
    """Load ``lanes`` consecutive elements."""
    raw = fn.load(vector(scalar_type(dtype), lanes), address)
    if dtype is DType.BOOL:
        return fn.b.icmp_unsigned("!=", raw, number(raw.type, 0))
    if dtype is DType.BFLOAT16:
        return widen_bfloat16(fn, raw)
    return widen_float16(fn, raw) if dtype is DType.FLOAT16 else raw


def store_value(fn: Fn, dtype: DType, value: ir.Value, address: ir.Value, lanes: int) -> None:
    """Store ``lanes`` consecutive elements."""
    if dtype is DType.BOOL:
        value = fn.b.zext(value, vector(I8, lanes))
    elif dtype is DType.FLOAT16:
        value = narrow_float16(fn, value)
    elif dtype is DType.BFLOAT16:
        value = narrow_bfloat16(fn, value)
    fn.store(value, address)


def widen_bfloat16(fn: Fn, bits: ir.Value) -> ir.Value:
    """Return bfloat16 (16-bit integers) as float32: its upper half."""
    ints = like(bits.type, I32)
    return fn.b.bitcast(fn.b.shl(fn.b.zext(bits, ints), number(ints, 16)), like(bits.type, F32))


def narrow_bfloat16(fn: Fn, value: ir.Value) -> ir.Value:
    """Return float32 rounded to bfloat16 (nearest, ties to even; a NaN becomes the quiet one), as 16-bit integers."""
    b, ints = fn.b, like(value.type, I32)
    bits = b.bitcast(value, ints)
    odd = b.and_(b.lshr(bits, number(ints, 16)), number(ints, 1))
    rounded = b.lshr(b.add(bits, b.add(odd, number(ints, 0x7FFF))), number(ints, 16))
    return b.trunc(b.select(b.fcmp_unordered("uno", value, value), number(ints, 0x7FC0), rounded), like(ints, I16))


def widen_float16(fn: Fn, half: ir.Value) -> ir.Value:
    """Return float16 as float32."""
    if fn.native_half:
        return fn.b.fpext(half, like(half.type, F32))
    # Integer arithmetic: not every CPU has an instruction for it.
    b, ints, floats = fn.b, like(half.type, I32), like(half.type, F32)
    bits = b.zext(b.bitcast(half, like(half.type, I16)), ints)
    magnitude = b.shl(b.and_(bits, number(ints, 0x7FFF)), number(ints, 13))
    # The exponent's bias changes by 112; as a product this is right for subnormal numbers too.
    finite = b.fmul(b.bitcast(magnitude, floats), number(floats, 2.0**112))
    special = b.icmp_unsigned(">=", magnitude, number(ints, 0x0F800000))
    absolute = b.select(special, b.or_(magnitude, number(ints, 0x7F800000)), b.bitcast(finite, ints))
    sign = b.shl(b.and_(bits, number(ints, 0x8000)), number(ints, 16))
    return b.bitcast(b.or_(absolute, sign), floats)


def narrow_float16(fn: Fn, value: ir.Value) -> ir.Value:
    """Return float32 rounded to float16 (nearest, ties to even)."""
    if fn.native_half:
        return fn.b.fptrunc(value, like(value.type, F16))
    b, ints, floats = fn.b, like(value.type, I32), value.type
    bits = b.bitcast(value, ints)
    magnitude = b.and_(bits, number(ints, 0x7FFFFFFF))
    odd = b.and_(b.lshr(magnitude, number(ints, 13)), number(ints, 1))
    rounded = b.add(magnitude, b.add(odd, number(ints, 0x0FFF)))
    normal = b.lshr(b.sub(rounded, number(ints, 112 << 23)), number(ints, 13))
    # Adding one half puts the last place of a half-precision subnormal where float32 rounds.
    shifted = b.fadd(b.bitcast(magnitude, floats), number(floats, 0.5))
    tiny = b.sub(b.bitcast(shifted, ints), number(ints, 0x3F000000))
    result = b.select(b.icmp_unsigned("<", magnitude, number(ints, 113 << 23)), tiny, normal)
    result = b.select(b.icmp_unsigned(">=", rounded, number(ints, 0x47800000)), number(ints, 0x7C00), result)
    result = b.select(b.icmp_unsigned(">", magnitude, number(ints, 0x7F800000)), number(ints, 0x7E00), result)
    sign = b.and_(b.lshr(bits, number(ints, 16)), number(ints, 0x8000))
    return b.bitcast(b.trunc(b.or_(result, sign), like(ints, I16)), like(ints, F16))


def raw_type(itemsize: int, lanes: int = 1) -> ir.Type:
    """Return the integer type that moves elements of ``itemsize`` bytes."""
    return vector(ir.IntType(8 * itemsize), lanes)


def number(type: ir.Type, value: float | int) -> ir.Constant:
    """Return a constant in every lane of a number type (integers wrap to the type's bits)."""
    if isinstance(type, ir.VectorType):
        return ir.Constant(type, [number(type.element, value)] * type.count)
    if isinstance(type, ir.IntType):
        return ir.Constant(type, _wrapped(int(value), type.width))
    return ir.Constant(type, float(value))


def _wrapped(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if bits > 1 and value >> (bits - 1) else value


def is_float_type(type: ir.Type) -> bool:
    """Whether a register type holds floating-point numbers."""
    element = type.element if isinstance(type, ir.VectorType) else type
    return isinstance(element, (ir.FloatType, ir.DoubleType))


def element_of(type: ir.Type) -> ir.Type:
    """Return the type of one lane."""
    return type.element if isinstance(type, ir.VectorType) else type


def like(type: ir.Type, element: ir.Type) -> ir.Type:
    """Return the type with the same number of lanes and another element."""
    return ir.VectorType(element, type.count) if isinstance(type, ir.VectorType) else element


def bits_type(type: ir.Type) -> ir.Type:
    """Return the integer type of the same width as a float register type."""
    element = element_of(type)
    if element == F32:
        return like(type, I32)
    if element == F64:
        return like(type, I64)
    raise CompilerError(f"{type} is not a float type")


def lane_sum(fn: Fn, value: ir.Value, combine: str, signed: bool = True) -> ir.Value:
    """Combine all lanes of a vector pairwise (fixed order); ``combine`` as in :func:`combine_values`."""
    while isinstance(value.type, ir.VectorType):
        half = value.type.count // 2
        low = fn.first_lanes(value, half)
        if half == 1:
            high = fn.b.extract_element(value, ir.Constant(I32, 1))
        else:
            mask = ir.Constant(ir.VectorType(I32, half), list(range(half, 2 * half)))
            high = fn.b.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), mask)
        value = combine_values(fn, combine, low, high, signed)
    return value


def combine_values(fn: Fn, how: str, a: ir.Value, b: ir.Value, signed: bool = True) -> ir.Value:
    """Return ``a (sum|prod|max|min) b``; the extremes keep NaN."""
    b_ = fn.b
    if is_float_type(a.type):
        if how in ("sum", "prod"):
            return b_.fadd(a, b) if how == "sum" else b_.fmul(a, b)
        takes_b = b_.or_(b_.fcmp_ordered(">" if how == "max" else "<", b, a), b_.fcmp_unordered("uno", b, b))
        return b_.select(takes_b, b, a)
    if how in ("sum", "prod"):
        return b_.add(a, b) if how == "sum" else b_.mul(a, b)
    compare = b_.icmp_signed if signed else b_.icmp_unsigned
    return b_.select(compare(">" if how == "max" else "<", b, a), b, a)
