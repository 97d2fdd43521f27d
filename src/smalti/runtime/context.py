"""The memory of one running request, and the bounded set of them that an engine keeps."""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from smalti.artifact import abi
from smalti.artifact.abi import Ctx
from smalti.artifact.format import align_up
from smalti.artifact.manifest import Manifest
from smalti.errors import UsageError
from smalti.runtime.memory import Region, map_anonymous
from smalti.runtime.plan import ShapePlan
from smalti.runtime.team import Team, function_address

T = TypeVar("T")

# Plain integers: every run writes these words, and looking up a member of an enum costs more than the store.
_WORKSPACE, _DIMS, _OFFSETS = int(Ctx.WORKSPACE), int(Ctx.DIMS), int(Ctx.OFFSETS)
_PROFILE, _SPINS = int(Ctx.PROFILE), int(Ctx.SPINS)
_sched_yield = function_address(ctypes.CDLL(None).sched_yield)


@dataclass(frozen=True, slots=True, eq=False)
class Recipe:
    """What every context of a model is made from.  Holding it keeps code and constants mapped.

    ``cpus`` is how many threads can run at the same time.
    """

    manifest: Manifest
    constants: Region
    code: Region
    huge_pages: bool
    cpus: int


class Context:
    """Arena, counters and threads of one request at a time.  Kept between requests, so a run touches no new page."""

    def __init__(self, recipe: Recipe) -> None:
        manifest = recipe.manifest
        steps = len(manifest.steps)
        tensors = len(manifest.inputs) + len(manifest.outputs)
        self._recipe = recipe
        self._team = Team(manifest.team, recipe.code)
        self._arena: Region | None = None
        layout = (abi.CTX_WORDS * 8, tensors * 8, abi.counters(steps) * 4, abi.stamps(steps) * 8)
        starts = np.cumsum([0, *(align_up(size, abi.LINE) for size in layout)]).tolist()
        memory = _aligned_zeros(starts[-1])
        self._ctx = memory[: layout[0]].view(np.uint64)
        self._io = memory[starts[1] : starts[1] + layout[1]].view(np.uint64)
        self._counters = memory[starts[2] : starts[2] + layout[2]]
        self._profile = memory[starts[3] : starts[3] + layout[3]].view(np.uint64)
        self._address = int(self._ctx.ctypes.data)
        self._profile_address = int(self._profile.ctypes.data)
        self._ctx[Ctx.CONSTANTS] = recipe.constants.address
        self._ctx[Ctx.TENSORS] = self._io.ctypes.data
        self._ctx[Ctx.COUNTERS] = self._counters.ctypes.data
        self._ctx[Ctx.YIELD] = _sched_yield

    def run(self, plan: ShapePlan, addresses: Sequence[int], profile: bool = False) -> NDArray[np.uint64] | None:
        """Run the model once on arrays at these addresses (inputs, then outputs).

        With ``profile`` returns a copy of the cycle counter at the start of every step and at the end of the last.

        Raises:
            ResourceError: workspace or threads are refused.
            CompilerError: the code reports a failure.
        """
        arena = self._arena
        if arena is None or arena.size < plan.workspace_bytes:
            arena = self._grow(plan.workspace_bytes)
        ctx = self._ctx
        ctx[_WORKSPACE] = arena.address
        ctx[_DIMS], ctx[_OFFSETS] = plan.addresses
        ctx[_PROFILE] = self._profile_address if profile else 0
        ctx[_SPINS] = abi.SPINS if plan.threads <= self._recipe.cpus else abi.SPINS_IN_A_CROWD
        self._io[:] = addresses
        self._counters.fill(0)
        self._team.run(self._address, plan.threads)
        return self._profile.copy() if profile else None

    def close(self) -> None:
        """End the threads and give the memory back."""
        self._team.close()
        if self._arena is not None:
            self._arena.close()
            self._arena = None

    def _grow(self, size: int) -> Region:
        if self._arena is not None:
            self._arena.close()
            self._arena = None
        self._arena = map_anonymous(size, self._recipe.huge_pages)
        return self._arena


class Permit:
    """The right to use one context.  One that an exception drops, at whatever moment, comes back by itself."""

    __slots__ = ("__weakref__", "_home")

    def __init__(self, home: weakref.ref[SimpleQueue[Permit]]) -> None:
        self._home = home

    def __del__(self) -> None:
        home = self._home()
        if home is not None:
            home.put(Permit(self._home))


@dataclass(frozen=True, slots=True, eq=False)
class Lease:
    """A context in exclusive use."""

    permit: Permit
    context: Context


class ContextPool:
    """At most ``limit`` contexts, made when first needed; the one used last is used first.  Belongs to one process."""

    def __init__(self, limit: int, recipe: Recipe, closed: bool = False) -> None:
        self._limit = limit
        self._recipe = recipe
        # Whoever waits for a permit holds the door: a caller that gives one back cannot take it again past the others.
        self._door = threading.Lock()
        self._permits: SimpleQueue[Permit] = SimpleQueue()
        home = weakref.ref(self._permits)
        for _ in range(limit):
            self._permits.put(Permit(home))
        self._free: list[Context] = []
        self._inside: set[int] = set()  # threads in the middle of a call
        self._closed = closed

    def use(self, work: Callable[[Context], T]) -> T:
        """Return what ``work`` gives for a context in exclusive use; waits while all are in use, each in its turn.

        Raises:
            UsageError: the engine is closed; or this very thread is in the middle of a call (this one comes from a
                signal handler) and no context is left: what it would wait for can end only after it.
        """
        thread = threading.get_ident()
        is_nested = thread in self._inside
        try:
            self._inside.add(thread)
            lease = self._take(is_nested)
            try:
                return work(lease.context)
            finally:
                self._give(lease)
        finally:
            if not is_nested:
                self._inside.discard(thread)

    def close(self) -> None:
        """Wait until running requests are done, then free every context; later requests are refused.

        Raises:
            UsageError: this very thread is in the middle of a call, so waiting for its end would last for ever.
        """
        thread = threading.get_ident()
        if thread in self._inside:
            raise UsageError(
                "a signal handler cannot close an engine in the middle of a call of its own thread: "
                "let it raise an exception or set a flag, and close the engine after the call"
            )
        try:
            self._inside.add(thread)
            self._close()
        finally:
            self._inside.discard(thread)

    def _take(self, is_nested: bool) -> Lease:
        permit = self._spare() if is_nested else self._next()
        if self._closed:
            self._permits.put(permit)
            raise UsageError("this engine is closed: load the model again")
        try:
            context = self._free.pop()
        except IndexError:
            context = Context(self._recipe)
        return Lease(permit, context)

    def _next(self) -> Permit:
        with self._door:
            return self._permits.get()

    def _spare(self) -> Permit:
        try:
            return self._permits.get_nowait()
        except Empty:
            raise UsageError(
                "a signal handler cannot run an engine in the middle of a call of its own thread: "
                "load the model with more concurrency, or use another engine"
            ) from None

    def _give(self, lease: Lease) -> None:
        self._free.append(lease.context)
        self._permits.put(lease.permit)

    def _close(self) -> None:
        with self._door:
            permits = [self._permits.get() for _ in range(self._limit)]
        self._closed = True
        for context in self._free:
            context.close()
        self._free.clear()
        for permit in permits:
            self._permits.put(permit)


def _aligned_zeros(size: int) -> NDArray[np.uint8]:
    raw = np.zeros(size + abi.LINE, dtype=np.uint8)
    skew = -int(raw.ctypes.data) % abi.LINE
    return raw[skew : skew + size]
