"""The table of ONNX's operations; each file of ``ops/`` adds its handlers to it::

@onnx_op("Relu", inputs=1, since=(6, 13, 14))
def relu(ctx: Context) -> Handled: ...
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from smalti.frontend.context import NodeContext
from smalti.frontend.onnx.attrs import AttrReader
from smalti.frontend.onnx.opsets import NEWEST, OWN_DOMAIN
from smalti.frontend.table import Handler, OpTable

TABLE: OpTable[AttrReader] = OpTable({"": NEWEST, "com.microsoft": 1, OWN_DOMAIN: 1})
Context = NodeContext[AttrReader]


def onnx_op(
    *names: str,
    inputs: int | tuple[int, int],
    since: tuple[int, ...] = (1,),
    ignore: tuple[str, ...] = (),
    types: Mapping[str, int] | None = None,
    note: str = "",
    sees_special: bool = False,
    domain: str = "",
) -> Callable[[Handler[AttrReader]], Handler[AttrReader]]:
    """Register a handler; see :class:`smalti.frontend.table.OpEntry`.

    Args:
        since: every version of the operator set in which the operation changed to something that the handler
            understands.  A change that is not listed would be taken for what stood there before, so tests compare the
            lists with ONNX's own definitions.
    """

    def register(handler: Handler[AttrReader]) -> Handler[AttrReader]:
        for version in since:
            TABLE.op(
                *names,
                inputs=inputs,
                ignore=ignore,
                types=types,
                note=note,
                sees_special=sees_special,
                domain=domain,
                since=version,
            )(handler)
        return handler

    return register
