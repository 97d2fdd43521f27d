"""Operations that are known and not compiled, with the reason that the list of unsupported nodes gives."""

from __future__ import annotations

from smalti.frontend.tensorflow.dropout import RANDOM, REASON
from smalti.frontend.tensorflow.registry import TABLE

_CUT = "end the graph before it (--outputs)"

for _domain, _reason in REASON.items():
    TABLE.refuse(*sorted(RANDOM), reason=_reason, domain=_domain)
TABLE.refuse("RandomStandardNormal", "TruncatedNormal", "Multinomial", reason=REASON[""])
TABLE.refuse(
    *("NonMaxSuppression", "NonMaxSuppressionV2", "NonMaxSuppressionV3", "NonMaxSuppressionV4", "NonMaxSuppressionV5"),
    *("CombinedNonMaxSuppression", "Unique"),
    reason=f"how many results there are depends on the data of a run: {_CUT}",
)
TABLE.refuse(
    *("Enter", "Exit", "LoopCond", "NextIteration", "While", "StatelessWhile"),
    *("TensorArrayV3", "TensorArrayReadV3", "TensorArrayWriteV3", "TensorArrayGatherV3", "TensorArrayScatterV3"),
    *("TensorArrayConcatV3", "TensorArraySizeV3"),
    *("TensorListReserve", "TensorListFromTensor", "TensorListGetItem", "TensorListSetItem", "TensorListStack"),
    reason=f"a loop over a body: {_CUT}",
)
TABLE.refuse(
    *("VarHandleOp", "ReadVariableOp", "Variable", "VariableV2", "VarIsInitializedOp"),
    reason="a variable, whose numbers do not stand in the graph: freeze it (docs/freezing.md)",
)
TABLE.refuse(
    *("DecodeJpeg", "DecodePng", "DecodeImage", "DecodeBmp", "ParseExample", "ParseSingleExample", "ReadFile"),
    reason="a picture file inside the graph: begin the graph behind it (--inputs)",
)
TABLE.refuse("CropAndResize", reason=f"boxes that are computed, cut out of images: {_CUT}")
