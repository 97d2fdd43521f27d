"""Which of ONNX's cases of single nodes are about what segmentation networks are made of, and what becomes of those.

``python tests/onnx_scope.py`` prints the tables of docs/onnx.md: a test compares them with the page.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import onnx
from onnx.backend.test.case.node import collect_testcases

import onnx_suite as suite

OPERATORS = frozenset(
    """
    Conv ConvTranspose BatchNormalization InstanceNormalization LayerNormalization GroupNormalization RMSNormalization
    LpNormalization MaxPool AveragePool LpPool GlobalAveragePool GlobalMaxPool GlobalLpPool MaxUnpool Relu LeakyRelu
    PRelu Elu Selu Sigmoid HardSigmoid HardSwish Swish Mish Softplus Softsign ThresholdedRelu Tanh Erf Gelu Clip Pow Exp
    Log Sqrt Reciprocal Sin Cos Sign Abs Neg Floor Ceil Round Mod Min Max Sum Mean Add Sub Mul Div Equal Less
    LessOrEqual Greater GreaterOrEqual And Or Xor Not Where Cast CastLike BitwiseAnd BitwiseOr BitwiseXor BitwiseNot
    BitShift MatMul Gemm Einsum Softmax LogSoftmax ArgMax ArgMin TopK ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp
    ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare CumSum Reshape Transpose Concat Split Slice
    Gather GatherND GatherElements ScatterND ScatterElements Expand Tile Squeeze Unsqueeze Flatten Shape Size Range
    ConstantOfShape OneHot Pad DepthToSpace SpaceToDepth Resize Upsample GridSample Identity Dropout If Constant
    """.split()
)
TYPES = frozenset("bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64".split())
LIMITS = {
    "volumes: three spatial dimensions": r"of 3 spatial dimensions|positions in float32\[",
    "training: dropout that drops, statistics of the batch": r"in training mode",
    "`Resize` to a region (`tf_crop_and_resize`)": r"tf_crop_and_resize",
    "`Resize` with aligned corners by scales that give no whole size": r"align_corners by scales",
    "models of an opset below 6": r"uses opset \d",
    "inputs that are empty: a file takes sizes from 1 on": (r"the graph takes 1|do not add up to axis|Reshape of"),
    "shapes, axes, counts or conditions that are data of a run": (
        r"must be constant|must not depend|is not known when|are not constant|are not a constant"
    ),
}
"""Why cases in scope are refused: words for the page, and what the error says. Nothing else may refuse one."""
VERSION = onnx.__version__


@dataclass(frozen=True, slots=True)
class Row:
    """What became of a case in a form."""

    case: suite.NodeCase
    form: str
    outcome: suite.Outcome
    text: str


def why_out(case: suite.NodeCase) -> str:
    """Return why a case is not in scope, or nothing."""
    if any(node.op_type not in OPERATORS for node in case.fed.graph.node):
        return "other operators"
    kinds = {value.dtype.name for value in (*case.inputs, *case.outputs)} - TYPES
    return f"numbers of type {min(kinds)}" if kinds else ""


def limit_of(text: str) -> str:
    """Return which limit an error is about, or nothing."""
    return next((words for words, pattern in LIMITS.items() if re.search(pattern, text)), "")


def rows(cases: Iterable[suite.NodeCase]) -> list[Row]:
    """Return what becomes of all cases in all forms."""
    found = []
    for case in cases:
        fed = suite.by_meaning(case, "fed")
        found.append(Row(case, "fed", *fed))
        bound = fed if fed[0] is suite.Outcome.PASS else suite.by_meaning(case, "bound")
        found.append(Row(case, "bound", *bound))
        found.append(Row(case, "stored", *(fed if len(case.inputs) == 1 else suite.by_meaning(case, "stored"))))
    return found


def summary(found: Iterable[Row]) -> str:
    """Return the rows of the page about all cases."""
    lines = []
    for form in suite.FORMS:
        outcomes = Counter(row.outcome for row in found if row.form == form)
        cells = (sum(outcomes.values()), *(outcomes[outcome] for outcome in suite.Outcome))
        lines.append(f"| single nodes, {form} | " + " | ".join(map(str, cells)) + " |\n")
    return "".join(lines)


def tables(found: Iterable[Row]) -> str:
    """Return the tables of the page."""
    inside, passed, refused, out = Counter[str](), Counter[str](), Counter[tuple[str, str]](), Counter[str]()
    for row in found:
        reason = why_out(row.case)
        if reason:
            out[reason] += row.form == "fed"
            continue
        inside[row.form] += 1
        passed[row.form] += row.outcome is suite.Outcome.PASS
        if row.outcome is suite.Outcome.REFUSED:
            refused[limit_of(row.text), row.form] += 1
    lines = ["| cases in scope | " + " | ".join(suite.FORMS) + " |", "|---|" + "---:|" * len(suite.FORMS)]
    lines.append("| in all | " + " | ".join(str(inside[form]) for form in suite.FORMS) + " |")
    lines.append("| pass | " + " | ".join(_share(passed[form], inside[form]) for form in suite.FORMS) + " |")
    for words in LIMITS:
        counts = [refused[words, form] for form in suite.FORMS]
        if any(counts):
            lines.append(f"| refused: {words} | " + " | ".join(map(str, counts)) + " |")
    lines += ["", "| out of scope | cases |", "|---|---:|"]
    lines += [f"| {reason} | {count} |" for reason, count in sorted(out.items(), key=lambda item: (-item[1], item[0]))]
    lines.append(f"| sequences, optional values, texts as operands | {_without_tensors()} |")
    return "\n".join(lines) + "\n"


def _share(part: int, whole: int) -> str:
    return f"{part} ({100 * part / whole:.1f} %)"


def _without_tensors() -> int:
    """Return how many cases have operands or results that are no tensors."""
    return sum(len(case.data_sets) for case in collect_testcases(None)) - sum(1 for _ in suite.node_cases())


def main() -> None:
    """Write what docs/onnx.md says of the cases."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = rows(suite.node_cases())
    sys.stdout.write(f"{summary(found)}\n{tables(found)}")


if __name__ == "__main__":
    main()
