"""Options that belong together, as one frozen record: the command line has its fields, the command takes the record."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from typing import Any, get_type_hints


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command that takes the fields of its records of options, each where the record's parameter stands.

    The type of such a parameter is a dataclass whose fields are written as parameters are:
    ``max_nodes: Annotated[int, typer.Option("--max-nodes")] = 1000``.
    """
    signature = inspect.signature(command, eval_str=True)
    records: dict[str, Any] = {
        p.name: p.annotation for p in signature.parameters.values() if is_dataclass(p.annotation)
    }
    parameters = [inner for p in signature.parameters.values() for inner in _expanded(p)]

    @wraps(command)
    def takes_fields(**given: Any) -> None:
        made = {name: kind(**{f.name: given.pop(f.name) for f in fields(kind)}) for name, kind in records.items()}
        command(**given, **made)

    takes_fields.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    takes_fields.__annotations__ = {p.name: p.annotation for p in parameters}
    return takes_fields


def _expanded(parameter: inspect.Parameter) -> Iterator[inspect.Parameter]:
    kind = parameter.annotation
    if not is_dataclass(kind):
        yield parameter
        return
    types = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        default = inspect.Parameter.empty if field.default is MISSING else field.default
        yield inspect.Parameter(field.name, parameter.kind, default=default, annotation=types[field.name])
