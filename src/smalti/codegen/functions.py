"""The inner functions of a module: one for each builder and frozen specification, shared by all steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from types import FunctionType
from typing import Any

from llvmlite import ir

from smalti.errors import CompilerError
from smalti.kernels.kernel import FunctionEmitter, Spec
from smalti.kernels.values import native_half
from smalti.llvm.builder import Fn
from smalti.target.target import Target


class Functions:
    """Builds each function once.

    The key is the builder and its specification, so a builder must be a plain function of a module: whatever else it
    knew would be missing from the key.
    """

    def __init__(self, module: ir.Module, target: Target) -> None:
        self.module, self.target = module, target
        self._known: dict[tuple[Callable[..., None], Hashable], ir.Function] = {}
        self._names: Counter[str] = Counter()

    def get(self, build: Callable[[FunctionEmitter, Spec], None], spec: Spec, args: Sequence[ir.Type]) -> ir.Function:
        """Return the function, building it the first time.

        Raises:
            CompilerError: the builder is a closure, a method or no function at all.
        """
        known = self._known.get((build, spec))
        if known is None:
            fn = self.open(_plain_name(build), args)
            known = self._known[build, spec] = fn.function
            build(InnerEmitter(fn, self), spec)
        return known

    def open(self, name: str, args: Sequence[ir.Type]) -> Fn:
        """Return a new internal function; its name gets a number."""
        number = self._names[name]
        self._names[name] += 1
        return Fn(self.module, f"{name}.{number}", args, native_half=native_half(self.target))


class InnerEmitter:
    """The ``FunctionEmitter`` of one inner function."""

    def __init__(self, fn: Fn, functions: Functions) -> None:
        self.fn = fn
        self.target = functions.target
        self._functions = functions

    def function(
        self, build: Callable[[FunctionEmitter, Spec], None], spec: Spec, args: Sequence[ir.Type]
    ) -> ir.Function:
        """Return the internal function that ``build`` writes for ``spec``."""
        return self._functions.get(build, spec, args)


def _plain_name(build: Callable[..., Any]) -> str:
    if not isinstance(build, FunctionType) or build.__closure__ or build.__qualname__ != build.__name__:
        raise CompilerError(f"the builder {build!r} is no plain function: what it knows must be in its specification")
    return build.__name__.strip("_")
