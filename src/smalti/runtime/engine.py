"""The engine: an offline model that is loaded and ready to run."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smalti import knobs
from smalti.artifact.manifest import Manifest
from smalti.artifact.program import Program, check_target, choose_program
from smalti.artifact.reader import ModelFile, model_sha256, open_model
from smalti.errors import InputError, UsageError
from smalti.runtime.context import Context, ContextPool, Recipe
from smalti.runtime.dims import Shape
from smalti.runtime.memory import map_anonymous, map_code, map_file, protect_read_only, view
from smalti.runtime.plan import ShapePlanner
from smalti.runtime.profile import Profile, make_profile
from smalti.runtime.request import Request, as_array, bind_arrays, bind_shapes
from smalti.runtime.signature import TensorSpec, tensor_specs
from smalti.target.host import UsableCpus, usable_cpus

Array = NDArray[Any]


def load(
    path: str | os.PathLike[str],
    threads: int | None = None,
    sha256: str | None = None,
    *,
    concurrency: int | None = None,
    target: str | None = None,
) -> Engine:
    """Load an offline model file and return an engine for it.

    Everything is checked before any of its code becomes executable.  A model file is a program: load only files you
    trust, or give the ``sha256`` of the whole file (as ``sha256sum`` prints it).

    ``threads`` is the number of threads of one request (default: every CPU this process may use, or SMALTI_THREADS).
    ``concurrency`` is how many requests may run at the same time, each with its own workspace and threads; more wait
    (default: usable CPUs / threads, at least 1).
    ``target`` names the program to take where the file holds several (default: the first that this CPU can run; they
    are sorted so that the most demanding comes first).

    Raises:
        NotAModelError, DamagedModelError, ModelVersionError, TargetError, ModelFileError: the file cannot be used.
        ResourceError: the system refuses memory or executable pages.
        UsageError: an argument is out of range, or the file holds no program for ``target``.
    """
    cpus = usable_cpus()
    count, reason = default_threads(cpus) if threads is None else _asked_threads(threads)
    limit = max(1, cpus.count // count) if concurrency is None else concurrency
    if type(limit) is not int or not 1 <= limit <= knobs.MAX_THREADS:
        raise UsageError(f"concurrency must be a whole number from 1 to {knobs.MAX_THREADS}")
    with open_model(path, sha256) as file:
        program = _program(file, target)
        if knobs.COPY_CONSTANTS.get():
            constants = map_anonymous(file.constants.size, huge=True)
            file.read_constants(view(constants))
            protect_read_only(constants)
        else:
            constants = map_file(file.descriptor, file.constants.offset, file.constants.size)
        code = map_code(program.code)
        recipe = Recipe(program.manifest, constants, code, bool(knobs.HUGE_PAGES.get()), cpus.count)
        return Engine(file.path, file.digest, recipe, count, reason, limit)


class Engine:
    """A loaded model.  Safe to call from any number of threads, and in child processes after a fork.

    Constants and code are shared; every request in flight has its own workspace.  Use as a context manager or call
    :meth:`close` to give memory and threads back early.
    """

    def __init__(self, path: str, digest: str, recipe: Recipe, threads: int, reason: str, limit: int) -> None:
        self._path = path
        self._digest = digest
        self._recipe = recipe
        self._manifest = recipe.manifest
        self._inputs = tensor_specs(self._manifest, self._manifest.inputs)
        self._outputs = tensor_specs(self._manifest, self._manifest.outputs)
        self._threads = threads
        self._threads_reason = reason
        self._limit = limit
        self._closed = False
        self._states: dict[int, _State] = {}
        self._state()

    # ---- what it is -------------------------------------------------------------------------------------------------

    @property
    def path(self) -> str:
        """The file this engine was loaded from."""
        return self._path

    @property
    def digest(self) -> str:
        """A digest that tells model files apart, in hexadecimal (not the ``sha256`` of :func:`load`)."""
        return self._digest

    def file_sha256(self) -> str:
        """Return the SHA-256 of the file, as ``sha256sum`` prints it and :func:`load` takes it; reads the file again.

        Raises:
            ModelFileError: the file was replaced after it was loaded, or cannot be read any more.
        """
        return model_sha256(self._path, self._digest)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What :meth:`run` takes: names, dtypes, layouts, sizes and their limits."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What :meth:`run` gives."""
        return self._outputs

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The names of the classes, by label (None: the file has none)."""
        return self._manifest.labels

    @property
    def precision(self) -> str:
        """The name of the precision mode that the model was built in: ``force_float32``, ``qint8_mixed_float16``."""
        return self._manifest.precision

    @property
    def manifest(self) -> Manifest:
        """What the file says about itself."""
        return self._manifest

    @property
    def target(self) -> str:
        """The target of the program that runs: of those in the file the most demanding that this CPU can run."""
        return self._manifest.target

    @property
    def threads(self) -> int:
        """Threads of one request."""
        return self._threads

    @property
    def threads_reason(self) -> str:
        """Why there are that many threads."""
        return self._threads_reason

    @property
    def concurrency(self) -> int:
        """How many requests may run at the same time."""
        return self._limit

    def set_threads(self, threads: int) -> None:
        """Use another number of threads from the next request on.  Results stay the same to the last bit.

        Raises:
            UsageError: the number is out of range.
        """
        self._threads, self._threads_reason = _asked_threads(threads)

    def output_shapes(self, shapes: Mapping[str, Sequence[int]]) -> dict[str, Shape]:
        """Return the shape of every output for these input shapes, without running.

        Raises:
            InputError: the shapes do not fit the model.
        """
        request = bind_shapes(self._manifest, shapes)
        plan = self._state().planner.plan(request.shapes)
        return dict(zip((t.name for t in self._manifest.outputs), request.output_shapes(plan), strict=True))

    def workspace_bytes(self, shapes: Mapping[str, Sequence[int]]) -> int:
        """Return the bytes of workspace that each request in flight needs for these input shapes.

        Raises:
            InputError: the shapes do not fit the model.
        """
        return self._state().planner.plan(bind_shapes(self._manifest, shapes).shapes, self._threads).workspace_bytes

    # ---- running ----------------------------------------------------------------------------------------------------

    def __call__(self, image: Array, /, *, threads: int | None = None) -> NDArray[np.int32]:
        """Label an image, uint8 ``[H, W, 3]``, or a batch, uint8 ``[N, H, W, 3]``.

        Returns int32 labels ``[H', W']`` or ``[N, H', W']``; the model says what H' and W' are. ``threads`` is another
        number of threads for this call alone.

        Raises:
            InputError: the array does not fit the model.
            UsageError: the model does not map one image to one label map; use :meth:`run`. Or ``threads`` is out of
                range.
        """
        m = self._manifest
        if len(m.inputs) != 1 or len(m.outputs) != 1 or len(m.inputs[0].shape) != 4:
            raise UsageError("this model does not map one image to one label map; use run()")
        if m.outputs[0].dtype.is_float:
            raise UsageError(f"this model gives {m.outputs[0].dtype.value} values, not labels; use run()")
        array = as_array(image, m.inputs[0].name)
        if array.ndim not in (3, 4):
            raise InputError(f"an image is [H, W, C] and a batch [N, H, W, C], got {array.ndim} dimensions")
        batch = array if array.ndim == 4 else array[np.newaxis]
        request = bind_arrays(m, {m.inputs[0].name: batch}, any_batch=True)
        count = self._threads if threads is None else _asked_threads(threads)[0]
        labels = self._run(request, count)[0].astype(np.int32, copy=False)
        return labels if array.ndim == 4 else labels[0]

    def run(self, arrays: Mapping[str, Array], *, threads: int | None = None) -> dict[str, Array]:
        """Run the graph on arrays by input name (``ImageTensor:0`` or ``ImageTensor``) and return every output by name.

        Where the model has no fixed batch size, all inputs may have a leading dimension N in place of 1: the N parts
        run one after another.  bfloat16 tensors are uint16 arrays of their bits.  ``threads`` is another number of
        threads for this call alone.

        Raises:
            InputError: a name, a dtype or a shape does not fit; nothing was run.
            ResourceError: the system refuses memory or threads; a later call may succeed.
            UsageError: ``threads`` is out of range.
        """
        count = self._threads if threads is None else _asked_threads(threads)[0]
        outputs = self._run(bind_arrays(self._manifest, arrays), count)
        return dict(zip((t.name for t in self._manifest.outputs), outputs, strict=True))

    def profile(self, arrays: Mapping[str, Array]) -> Profile:
        """Run once and return where the time went, step by step.

        Raises:
            InputError, ResourceError: as :meth:`run`.
        """
        request = bind_arrays(self._manifest, arrays)
        plan = self._state().planner.plan(request.shapes, self._threads)
        outputs = request.allocate(plan)
        addresses = request.addresses(outputs, 0)

        def timed(context: Context) -> tuple[NDArray[np.uint64] | None, int]:
            started = time.perf_counter_ns()
            cycles = context.run(plan, addresses, profile=True)
            return cycles, time.perf_counter_ns() - started

        cycles, elapsed = self._state().pool.use(timed)
        return make_profile(self._manifest, plan, cycles, elapsed, plan.threads)

    def _run(self, request: Request, threads: int) -> list[Array]:
        plan = self._state().planner.plan(request.shapes, threads)
        outputs = request.allocate(plan)

        def parts(context: Context) -> None:
            for part in range(request.count):
                context.run(plan, request.addresses(outputs, part))

        self._state().pool.use(parts)
        return outputs

    # ---- life -------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Wait for running requests, then give threads, workspaces, code and constants back.  Idempotent.

        Raises:
            UsageError: a signal handler calls this in the middle of a call of its own thread.
        """
        if self._closed:
            return
        self._state().pool.close()
        self._closed = True
        self._recipe.code.close()
        self._recipe.constants.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Engine {self._path!r} for {self._manifest.target}, {self._threads} threads>"

    def _state(self) -> _State:
        """Return what belongs to this process: a child after a fork has none of its parent's threads."""
        process = os.getpid()
        state = self._states.get(process)
        if state is None:
            made = _State(ContextPool(self._limit, self._recipe, self._closed), ShapePlanner(self._manifest))
            state = self._states.setdefault(process, made)
            for other in [key for key in self._states if key != process]:
                self._states.pop(other, None)
        return state


@dataclass(frozen=True, slots=True)
class _State:
    pool: ContextPool
    planner: ShapePlanner


def _program(file: ModelFile, wanted: str | None) -> Program:
    """Return the program that is asked for, or the first that this CPU can run."""
    if wanted is None:
        return choose_program(file.programs())
    program = file.program(file.find(wanted))
    check_target(program.manifest)
    return program


def default_threads(cpus: UsableCpus) -> tuple[int, str]:
    """Return how many threads a request has where nobody says, and why."""
    from_knob = knobs.THREADS.get()
    if from_knob is not None:
        return from_knob, f"{from_knob}: {knobs.THREADS.name} says so"
    return min(cpus.count, knobs.MAX_THREADS), cpus.reason


def _asked_threads(threads: int) -> tuple[int, str]:
    if type(threads) is not int or not 1 <= threads <= knobs.MAX_THREADS:
        raise UsageError(f"threads must be a whole number from 1 to {knobs.MAX_THREADS}, not {threads!r}")
    return threads, f"{threads}: asked for"
