"""ONNX's own test cases of single nodes, in three forms, and what becomes of each of them here.

The cases are made by the package ``onnx`` from numpy code of its own. In the form ``fed`` all operands are inputs, as
ONNX has them; in the form ``stored`` all but the first are values of the model, as trained networks have them. The form
``bound`` is how :mod:`smalti.onnx_backend` runs what is fed: where that cannot be imported before the values of a run
are known, with those of all inputs but the first as values of the model, or of all of them.
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
FORMS = ("fed", "bound", "stored")
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
        return self.fed if form in ("fed", "bound") else self.kept(1)

    def kept(self, first: int) -> onnx.ModelProto:
        """Return the model with the inputs from number ``first`` on as values of it."""
        model = onnx.ModelProto()
        model.CopyFrom(self.fed)
        for info, value in zip(model.graph.input[first:], self.inputs[first:], strict=True):
            model.graph.initializer.append(numpy_helper.from_array(value, info.name))
        del model.graph.input[first:]
        return model

    def arrays(self, form: str) -> tuple[Array, ...]:
        """Return the inputs in a form."""
        return self.inputs[:1] if form == "stored" else self.inputs

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
    if form != "bound":
        return _outcome(case, case.model(form))
    empty = any(value.size == 0 for value in case.inputs)
    tried = [case.fed, *([case.kept(1)] if len(case.inputs) > 1 else []), case.kept(0)]
    found = Outcome.REFUSED, ""
    for model in tried[-1:] if empty else tried:
        found = _outcome(case, model)
        if found[0] is not Outcome.REFUSED:
            break
    return found


def _outcome(case: NodeCase, model: onnx.ModelProto) -> tuple[Outcome, str]:
    try:
        graph = import_with(partial(read_model, model.SerializeToString())).graph
        names = [info.name for info in model.graph.input]
        given = dict(zip(names, case.inputs, strict=False))
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
