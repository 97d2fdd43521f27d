"""Random small graphs, run by TensorFlow here and now and by every stage of the compiler.

Needs ``tensorflow`` (any 2.x); skipped where it is not installed.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stage_runners import STAGES
from tolerance import Tol, assert_close, float_limit

pytest.importorskip("tensorflow", reason="tensorflow is not installed: nothing to compare with")

from models.tf_chains import answers

GRAPHS = 60


@pytest.mark.parametrize("stage", sorted(STAGES))
@settings(max_examples=GRAPHS, deadline=None, derandomize=True, database=None)
@given(seed=st.integers(0, 1 << 32))
def test_random_graphs_agree_with_tensorflow(stage: str, seed: int) -> None:
    graph_def, feed, want, terms = answers(seed)
    tol = Tol.FLOAT(reduction=terms)
    got = STAGES[stage](graph_def, feed, ("out:0", "labels:0"))
    assert_close(got["out:0"], want["out:0"], tol)
    labels = got["labels:0"]
    assert (labels.dtype, labels.shape) == (want["labels:0"].dtype, want["labels:0"].shape)
    scores = want["out:0"]
    chosen = np.take_along_axis(scores, labels.astype(np.int64)[..., None], 3)[..., 0]
    assert (scores.max(axis=3) - chosen <= 2 * float_limit(scores, tol)).all(), "a label that is not the largest"
