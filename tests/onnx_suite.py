"""ONNX's own test cases of single nodes, in two forms, and what becomes of each of them here.

The cases are made by the package ``onnx`` from numpy code of its own. In the form ``fed`` all operands are inputs, as
ONNX has them; in the form ``stored`` all but the first are values of the model, as trained networks have them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases

from smalti.errors import CompilerError, SmaltiError
from smalti.frontend.importing.importer import import_with
from smalti.frontend.onnx.reader import read_model
from smalti.ir.reference import run

Array = NDArray[Any]
FORMS = ("fed", "stored")
HALF, BFLOAT16 = 2e-3, 2**-6
"""Two steps of the numbers: ONNX's own code rounds after every operation."""
LARGE, SMALL = (1, 3, 32, 32, 32), (1, 3, 12, 11, 10)
"""Three cases pool a large volume: ONNX's own code visits each place in Python, for seconds, and a small one does."""


class Outcome(Enum):
    """What becomes of a case: the right numbers, an error that says why not, or a defect."""

    PASS = "pass"
    REFUSED = "refused"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class NodeCase:
    """A case: its model in both forms, the arrays of its inputs and outputs, and how far off ONNX lets results be."""

    name: str
    fed: onnx.ModelProto
    inputs: tuple[Array, ...]
    outputs: tuple[Array, ...]
    relative: float
    absolute: float

    def model(self, form: str) -> onnx.ModelProto:
        """Return the model in a form."""
        if form == "fed":
            return self.fed
        model = onnx.ModelProto()
        model.CopyFrom(self.fed)
        first, *others = model.graph.input
        for info, value in zip(others, self.inputs[1:], strict=True):
            model.graph.initializer.append(numpy_helper.from_array(value, info.name))
        del model.graph.input[1:]
        return model

    def arrays(self, form: str) -> tuple[Array, ...]:
        """Return the inputs in a form."""
        return self.inputs if form == "fed" else self.inputs[:1]

    def check(self, found: tuple[Array, ...]) -> str:
        """Return what is wrong with results, or nothing."""
        for ours, theirs in zip(found, self.outputs, strict=True):
            if ours.shape != theirs.shape or ours.dtype.itemsize != theirs.dtype.itemsize:
                return f"{ours.dtype}{list(ours.shape)} instead of {theirs.dtype}{list(theirs.shape)}"
            if theirs.dtype.name == "bfloat16":
                wrong = _away(_floats(ours), theirs.astype(np.float32), BFLOAT16, self.absolute)
            elif theirs.dtype.kind == "f":
                wrong = _away(
                    ours, theirs, max(self.relative, HALF if theirs.dtype == np.float16 else 0), self.absolute
                )
            else:
                wrong = int((ours != theirs).sum())
            if wrong:
                return f"{wrong} of {theirs.size} numbers are others"
        return ""


def node_cases() -> Iterator[NodeCase]:
    """Yield the cases whose operands and results are all tensors."""
    draw = np.random.randn
    with mock.patch.object(np.random, "randn", lambda *shape: _small(draw(*shape))):
        cases = collect_testcases(None)
    for case in cases:
        for number, (inputs, outputs) in enumerate(case.data_sets):
            found = [_array(value) for value in (*inputs, *outputs)]
            if any(value is None for value in found) or not case.model.graph.input:
                continue
            arrays = tuple(value for value in found if value is not None)
            name = case.name + (f"#{number}" if number else "")
            count = len(inputs)
            yield NodeCase(name, case.model, arrays[:count], arrays[count:], case.rtol, case.atol)


def by_meaning(case: NodeCase, form: str) -> tuple[Outcome, str]:
    """Import a case and run the numpy meaning of its graph."""
    try:
        data = case.model(form).SerializeToString()
        graph = import_with(partial(read_model, data)).graph
        names = [info.name for info in case.model(form).graph.input]
        given = dict(zip(names, case.arrays(form), strict=True))
        with np.errstate(all="ignore"):
            found = run(graph, {node.name: _carried(given[node.name]) for node in graph.inputs})
        wrong = case.check(tuple(found[info.name] for info in case.fed.graph.output))
    except CompilerError as error:
        return Outcome.WRONG, str(error)
    except SmaltiError as error:
        return Outcome.REFUSED, str(error)
    return (Outcome.WRONG, wrong) if wrong else (Outcome.PASS, "")


def _small(drawn: Any) -> Any:
    """Cut the large volume; later random numbers stay as they are."""
    return drawn[tuple(map(slice, SMALL))] if np.shape(drawn) == LARGE else drawn


def _array(value: Any) -> Array | None:
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    return None if value is None or isinstance(value, list) else np.asarray(value)


def _away(ours: Array, theirs: Array, relative: float, absolute: float) -> int:
    """Return how many numbers are further from those of ONNX than it allows."""
    have, want = ours.astype(np.float64), theirs.astype(np.float64)
    same = (have == want) | (np.isnan(have) & np.isnan(want))
    with np.errstate(invalid="ignore"):
        return int((~same & ~(np.abs(have - want) <= absolute + relative * np.abs(want))).sum())


def _floats(bits: Array) -> Array:
    """Return numbers that are carried as the bits of bfloat16."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def _carried(value: Array) -> Array:
    return value.view(np.uint16) if value.dtype.name == "bfloat16" else value
