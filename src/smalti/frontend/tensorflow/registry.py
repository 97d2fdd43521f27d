"""The table of TensorFlow operations the importer understands; each file ``ops_*.py`` fills it."""

from __future__ import annotations

from typing import Final

from smalti.frontend.context import NodeContext
from smalti.frontend.table import Handled, OpTable
from smalti.frontend.tensorflow.attrs import AttrReader

__all__ = ["TABLE", "Context", "Handled", "check_number", "tf_op"]

Context = NodeContext[AttrReader]
TABLE: Final = OpTable[AttrReader]()
"""Complete once ``smalti.frontend.tensorflow.handlers`` is imported."""
tf_op: Final = TABLE.op


def check_number(ctx: Context, count: int) -> None:
    """Refuse a node whose attribute ``N`` states another number of inputs than it has."""
    if ctx.attrs.integer("N", count) != count:
        ctx.invalid(f"attribute N does not match {count} inputs")
