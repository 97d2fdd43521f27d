"""Operations that are known and not compiled, with the reason that the list of unsupported nodes gives."""

from __future__ import annotations

from smalti.frontend.onnx.registry import TABLE

_CUT = "end the graph before it (--outputs)"

TABLE.refuse(
    "NonMaxSuppression",
    "Unique",
    reason=f"how many results there are depends on the data of a run: {_CUT}",
)
TABLE.refuse("Loop", "Scan", "SequenceMap", reason=f"a loop over a body: {_CUT}")
TABLE.refuse("RNN", "LSTM", "GRU", reason=f"a recurrent layer: {_CUT}")
TABLE.refuse(
    "SequenceAt",
    "SequenceConstruct",
    "SequenceEmpty",
    "SequenceErase",
    "SequenceInsert",
    "SequenceLength",
    "SplitToSequence",
    "ConcatFromSequence",
    "Optional",
    "OptionalGetElement",
    "OptionalHasElement",
    reason=f"a sequence or optional of tensors: {_CUT}",
)
TABLE.refuse(
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
    "Bernoulli",
    "Multinomial",
    reason=f"random numbers, which are other ones in every run: {_CUT}",
)
TABLE.refuse(
    "RegexFullMatch",
    "StringConcat",
    "StringNormalizer",
    "StringSplit",
    "TfIdfVectorizer",
    reason=f"texts, not numbers: {_CUT}",
)
TABLE.refuse("ImageDecoder", reason="a picture file inside the graph: begin the graph behind it (--inputs)")
TABLE.refuse(
    "NegativeLogLikelihoodLoss",
    "SoftmaxCrossEntropyLoss",
    reason=f"a loss, of use in training alone: {_CUT}",
)
