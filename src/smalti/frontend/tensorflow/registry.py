"""The table of TensorFlow operations the importer understands; each file ``ops_*.py`` fills it."""

from __future__ import annotations

from typing import Final

from smalti.frontend.context import NodeContext
from smalti.frontend.table import Handled, OpTable
from smalti.frontend.tensorflow.attrs import AttrReader

__all__ = ["TABLE", "Context", "Handled", "tf_op"]

Context = NodeContext[AttrReader]
TABLE: Final = OpTable[AttrReader]()
"""Complete once ``smalti.frontend.tensorflow.handlers`` is imported."""
tf_op: Final = TABLE.op
