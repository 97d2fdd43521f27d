"""One request: arrays checked against the manifest, split into the parts that the code runs one after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smalti.artifact.manifest import Manifest, TensorSpec
from smalti.errors import InputError, ResourceError
from smalti.runtime.dims import Shape, describe_shape
from smalti.runtime.plan import ShapePlan
from smalti.runtime.signature import element_text, is_batchable

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """Input arrays (contiguous, in manifest order; empty when only shapes are known) of ``count`` parts.

    ``shapes`` are those of one part.
    """

    manifest: Manifest
    arrays: tuple[Array, ...]
    shapes: tuple[Shape, ...]
    count: int

    def output_shapes(self, plan: ShapePlan) -> tuple[Shape, ...]:
        """Return the shapes of the outputs of all parts together.

        Raises:
            InputError: there are several parts, but an output has no leading dimension 1 to stack them along.
        """
        if self.count == 1:
            return plan.output_shapes
        for tensor in self.manifest.outputs:
            if not is_batchable(self.manifest, tensor):
                raise InputError(
                    f"output {tensor.name!r} has no leading dimension 1, so this model takes one image at a time"
                )
        return tuple((self.count, *shape[1:]) for shape in plan.output_shapes)

    def allocate(self, plan: ShapePlan) -> list[Array]:
        """Return new output arrays, not yet filled.

        Raises:
            InputError: the outputs cannot be stacked.
            ResourceError: there is no memory for them.
        """
        shapes = self.output_shapes(plan)
        try:
            return [np.empty(s, t.dtype.numpy) for s, t in zip(shapes, self.manifest.outputs, strict=True)]
        except (MemoryError, ValueError) as error:
            raise ResourceError("there is no memory for the outputs") from error

    def addresses(self, outputs: Sequence[Array], part: int) -> list[int]:
        """Return where each input and output of one part starts."""
        return [
            array.__array_interface__["data"][0] + part * (array.nbytes // self.count)
            for array in (*self.arrays, *outputs)
        ]


def bind_arrays(manifest: Manifest, arrays: Mapping[str, Any], any_batch: bool = False) -> Request:
    """Check arrays by input name; ``any_batch`` allows any number of parts whatever the model's batch size.

    Raises:
        InputError: a name, a dtype or a shape does not fit.
        ResourceError: there is no memory for a contiguous copy.
    """
    ordered = _by_tensor(manifest, arrays)
    checked = [_contiguous(tensor, value) for tensor, value in zip(manifest.inputs, ordered, strict=True)]
    shapes, count = _split(manifest, [array.shape for array in checked], any_batch)
    return Request(manifest, tuple(checked), shapes, count)


def as_array(value: Any, name: str) -> Array:
    """Return a value given for an input as an array, without a copy where it is one.

    Raises:
        InputError: it is not an array.
        ResourceError: there is no memory for it.
    """
    try:
        return np.asarray(value)
    except (ValueError, TypeError) as error:
        raise InputError(f"input {name!r} is not an array") from error
    except MemoryError as error:
        raise ResourceError(f"there is no memory for input {name!r}") from error


def bind_shapes(manifest: Manifest, shapes: Mapping[str, Sequence[int]]) -> Request:
    """Check shapes by input name, without arrays.

    Raises:
        InputError: a name or a shape does not fit.
    """
    found: list[Shape] = []
    for tensor, shape in zip(manifest.inputs, _by_tensor(manifest, shapes), strict=True):
        try:
            sizes = tuple(shape)
        except TypeError as error:
            raise InputError(f"the shape of input {tensor.name!r} must be whole numbers") from error
        if not all(isinstance(size, (int, np.integer)) and size >= 0 for size in sizes):
            raise InputError(f"the shape of input {tensor.name!r} must be whole numbers")
        found.append(tuple(int(size) for size in sizes))
    parts, count = _split(manifest, found, False)
    return Request(manifest, (), parts, count)


def _by_tensor(manifest: Manifest, given: Mapping[str, Any]) -> list[Any]:
    try:
        left = dict(given)
    except (TypeError, ValueError, NotImplementedError) as error:
        names = ", ".join(repr(tensor.name) for tensor in manifest.inputs)
        raise InputError(f"inputs are given by name ({names}), in a dict; got {type(given).__name__}") from error
    ordered, missing = [], []
    for tensor in manifest.inputs:
        key = tensor.name if tensor.name in left else tensor.name.removesuffix(":0")
        if key in left:
            ordered.append(left.pop(key))
        else:
            missing.append(tensor.name)
    if left or missing:
        problems = [f"{name!r} is missing" for name in missing]
        problems += [f"{str(name)[:80]!r} is not an input" for name in left]
        names = ", ".join(repr(tensor.name) for tensor in manifest.inputs)
        raise InputError(f"the inputs of this model are {names}: {'; '.join(problems[:8])}")
    return ordered


def _contiguous(tensor: TensorSpec, value: Any) -> Array:
    wanted = tensor.dtype.numpy
    array = as_array(value, tensor.name)
    if array.dtype != wanted:
        raise InputError(f"input {tensor.name!r} needs {element_text(tensor.dtype)} values, got {array.dtype}")
    if array.flags.c_contiguous and array.flags.aligned:
        return array
    try:
        return np.require(array, requirements=["C_CONTIGUOUS", "ALIGNED"]).reshape(array.shape)
    except (MemoryError, ValueError) as error:
        raise ResourceError(f"there is no memory for a contiguous copy of input {tensor.name!r}") from error


def _split(manifest: Manifest, shapes: Sequence[Shape], any_batch: bool) -> tuple[tuple[Shape, ...], int]:
    wanted = None if any_batch else manifest.batch_size
    for tensor, shape in zip(manifest.inputs, shapes, strict=True):
        if wanted == 1 or len(shape) != len(tensor.shape) or not is_batchable(manifest, tensor):
            return tuple(shapes), 1
    counts = {shape[0] for shape in shapes}
    if len(counts) != 1:
        raise InputError(f"all inputs must have the same leading dimension, got {sorted(counts)}")
    (count,) = counts
    if wanted is not None and count != wanted:
        tensor = manifest.inputs[0]
        raise InputError(f"input {tensor.name!r}: the batch size of this model is {wanted}, got {count}")
    if count == 0:
        raise InputError(
            f"input {manifest.inputs[0].name!r} must have shape {describe_shape(manifest, manifest.inputs[0])}, "
            "got an empty batch"
        )
    return tuple((1, *shape[1:]) for shape in shapes), count
