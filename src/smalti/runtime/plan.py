"""What a run needs to know about one set of input shapes: sizes, placement of the temporaries, output shapes."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smalti.artifact.abi import MAX_WORKSPACE_BYTES
from smalti.artifact.manifest import DimOp, Manifest, Step, TensorSpec
from smalti.errors import InputError
from smalti.runtime.arena import ArenaPlanner, Placement
from smalti.runtime.dims import Shape, bind_symbols, describe_shape, evaluate

CACHED_PLANS = 16
_SCALE = "scale the image to that (`smalti infer --resize stretch` does)"


@dataclass(frozen=True, slots=True, eq=False)
class ShapePlan:
    """Sizes for one image and a number of threads.

    ``dims`` and ``offsets`` (int64) are read by the code, at ``addresses``; ``workspace_bytes`` is the size of the
    arena; the shapes are those of the graph, in manifest order.
    """

    dims: NDArray[np.int64]
    offsets: NDArray[np.int64]
    addresses: tuple[int, int]
    workspace_bytes: int
    threads: int
    input_shapes: tuple[Shape, ...]
    output_shapes: tuple[Shape, ...]


class ShapePlanner:
    """Makes and remembers the plans of the latest input shapes of one model.  Safe to share between threads."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._arena = ArenaPlanner(manifest.arena)
        self._plans: OrderedDict[tuple[tuple[Shape, ...], int], ShapePlan] = OrderedDict()
        self._lock = threading.Lock()

    def plan(self, shapes: tuple[Shape, ...], threads: int = 1) -> ShapePlan:
        """Return the plan for these input shapes (manifest order, one image) and this many threads.

        Raises:
            InputError: the shapes do not fit the model.
        """
        with self._lock:
            found = self._plans.get((shapes, threads))
            if found is not None:
                self._plans.move_to_end((shapes, threads))
                return found
        made = self._make(shapes, threads)
        with self._lock:
            self._plans[shapes, threads] = made
            while len(self._plans) > CACHED_PLANS:
                self._plans.popitem(last=False)
        return made

    def _make(self, shapes: tuple[Shape, ...], threads: int) -> ShapePlan:
        m = self._manifest
        symbols = bind_symbols(m, {t.name: shape for t, shape in zip(m.inputs, shapes, strict=True)})
        dims = evaluate(m.dims, symbols)
        for tensor, shape in zip(m.inputs, shapes, strict=True):
            wanted = tuple(dims[i] for i in tensor.shape)
            if wanted != shape:
                raise InputError(
                    f"input {tensor.name!r} must have shape {describe_shape(m, tensor)}, got {list(shape)}"
                    + (f": {_SCALE}" if _differs_in_size(wanted, shape) else "")
                )
        for step in m.steps:
            self._check_step(step, dims)
        outputs = tuple(self._output_shape(tensor, dims) for tensor in m.outputs)
        placement = self._place(dims, threads)
        values, offsets = _frozen(dims), _frozen(list(placement.offsets))
        addresses = int(values.ctypes.data), int(offsets.ctypes.data)
        return ShapePlan(values, offsets, addresses, placement.total, threads, shapes, outputs)

    def _check_step(self, step: Step, dims: list[int]) -> None:
        """Refuse sizes below 1 between the layers; no buffer need show them: two negative sizes make a positive one."""
        for what, indices in (("shape", step.shape), ("sizes inside", step.inner)):
            if self._too_small(indices, dims):
                sizes = [dims[i] for i in indices]
                raise InputError(
                    f"these input sizes are too small for this model: {step.name!r} would have {what} {sizes}"
                )

    def _output_shape(self, tensor: TensorSpec, dims: list[int]) -> Shape:
        shape = tuple(dims[i] for i in tensor.shape)
        if self._too_small(tensor.shape, dims):
            raise InputError(f"these input sizes are too small: output {tensor.name!r} would have shape {list(shape)}")
        if math.prod((tensor.dtype.itemsize, *shape)) > MAX_WORKSPACE_BYTES:
            raise InputError(f"these input sizes are too large: output {tensor.name!r} would have shape {list(shape)}")
        return shape

    def _too_small(self, indices: tuple[int, ...], dims: list[int]) -> bool:
        """Whether a size is below 1 because of the input; one that is always 0 is the graph's own wish."""
        return any(dims[i] < 1 and self._manifest.dims[i].op is not DimOp.CONST for i in indices)

    def _place(self, dims: list[int], threads: int) -> Placement:
        sizes = [dims[b.size] * (threads if b.per_thread else 1) for b in self._manifest.arena]
        if any(size < 0 for size in sizes):
            raise InputError("these input sizes are too small for this model: give larger arrays")
        if sum(sizes) > MAX_WORKSPACE_BYTES:
            raise InputError(f"these input sizes need {sum(sizes)} bytes of workspace, more than any machine has")
        return self._arena.place(sizes)


def _differs_in_size(wanted: Shape, shape: Shape) -> bool:
    """Whether an image batch differs from what is wanted in height and width alone."""
    return len(wanted) == 4 and wanted[0] == shape[0] and wanted[3] == shape[3]


def _frozen(values: list[int]) -> NDArray[np.int64]:
    array = np.array(values or [0], dtype=np.int64)
    array.flags.writeable = False
    return array
