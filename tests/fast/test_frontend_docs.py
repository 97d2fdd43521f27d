"""The pages of supported operations are those of the code."""

from __future__ import annotations

from pathlib import Path

from smalti.frontend.onnx.handlers import TABLE as ONNX_TABLE
from smalti.frontend.onnx.opsets import OWN_DOMAIN
from smalti.frontend.onnx.supported import supported_onnx_markdown
from smalti.frontend.tensorflow.handlers import TABLE
from smalti.frontend.tensorflow.supported import supported_ops_markdown

PAGE = Path(__file__).resolve().parents[2] / "docs" / "supported-ops.md"
# What exporters of DeepLab graphs write; each must have a handler.
EXPECTED = """
Placeholder Const Identity StopGradient NoOp Assert Switch Merge Shape StridedSlice Slice Pack Unpack Split SplitV
Concat ConcatV2 ExpandDims Squeeze Reshape Transpose Fill Range Gather GatherV2 Cast Add AddV2 Sub Mul RealDiv FloorDiv
FloorMod Neg Maximum Minimum Square Sqrt Rsqrt Exp Equal NotEqual Less LessEqual Greater GreaterEqual LogicalAnd
LogicalOr LogicalNot Where Select SelectV2 Pad PadV2 MirrorPad Conv2D DepthwiseConv2dNative BiasAdd FusedBatchNorm
FusedBatchNormV2 FusedBatchNormV3 Relu Relu6 LeakyRelu Elu Sigmoid Tanh Softmax AvgPool MaxPool Mean Sum Max MatMul
SpaceToBatchND BatchToSpaceND DepthToSpace SpaceToDepth ResizeBilinear ResizeNearestNeighbor ArgMax Dequantize Rank Size
Tile AddN CheckNumerics PreventGradient
""".split()


def test_page_is_generated_from_the_code() -> None:
    write = "from smalti.frontend.tensorflow.supported import supported_ops_markdown"
    assert PAGE.read_text() == supported_ops_markdown(), f"write docs/supported-ops.md again: {write}"


def test_page_of_onnx_is_generated_from_the_code() -> None:
    page = PAGE.with_name("supported-onnx.md").read_text()
    assert page == supported_onnx_markdown(), "write docs/supported-onnx.md again: scripts/docs"
    for entry in ONNX_TABLE.entries():
        named = f"`{f'{entry.domain}.' * bool(entry.domain)}{entry.name}` |" in page
        assert named is (entry.domain != OWN_DOMAIN)


def test_every_expected_operation_has_a_handler() -> None:
    assert sorted(set(EXPECTED) - {entry.name for entry in TABLE.entries()}) == []


def test_every_handler_is_described() -> None:
    entries = (*TABLE.entries(), *ONNX_TABLE.entries())
    assert [entry.name for entry in entries if not (entry.handler.__doc__ or "").strip()] == []
