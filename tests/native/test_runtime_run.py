"""The C library runs model files: the same bits, sizes and refusals as the Python runtime."""

from __future__ import annotations

import ctypes
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import smalti
from artifact_kit import Parts, label_manifest, plain_parts, reverse_manifest
from model_kit import label_parts, reverse_parts
from native_kit import DTYPES, Info, Layout, Library, Model, builder, load
from small_segmenter import LABELS, SIDE, network
from smalti.artifact.manifest import ArenaBuffer, DimInstr, DimOp, Manifest, Step, Symbol, TensorSpec
from smalti.artifact.writer import write_programs
from smalti.building.calibrate import calibrate_model
from smalti.compiler import CompileOptions, compile_graph
from smalti.demo.dataset import graph_bytes
from smalti.demo.generator import demo_image
from smalti.errors import SmaltiError, UsageError
from smalti.numerics import DType
from smalti.quant.modes import QuantMode, QuantOptions
from smalti.runtime.signature import Size
from smalti.target.host import resolve_targets

THREADS = (1, 2, 3, 8)
RANDOM_MANIFESTS = 400
Array = NDArray[Any]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return load(builder(tmp_path_factory).library())


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Networks of several kinds: float32 and int8, open and fixed sizes, one program and two."""
    folder = tmp_path_factory.mktemp("models")
    graph = folder / "segmenter.pb"
    graph.write_bytes(network())
    native, int8 = resolve_targets("native"), QuantOptions(QuantMode.QINT8_MIXED_FLOAT16)
    pictures = [np.random.default_rng(i).integers(0, 256, (SIDE, SIDE, 3), np.uint8) for i in range(3)]
    record = calibrate_model(graph, CompileOptions(native, int8), pictures)
    fat = CompileOptions(resolve_targets("native,generic"), labels=LABELS)
    made = {
        "demo": compile_graph(graph_bytes(), CompileOptions(native, name="demo")),
        "int8": compile_graph(network(), CompileOptions(native, int8), record=record),
        "fat": compile_graph(network(), fat),
        "pairs": compile_graph(network(), CompileOptions(native, batch_size=2)),
    }
    paths = {name: folder / f"{name}.smalti" for name in made}
    for name, model in made.items():
        write_programs(paths[name], model.programs, model.constants)
    paths["labels"] = label_parts(None).write(folder / "labels.smalti")
    paths["reverse"] = reverse_parts().write(folder / "reverse.smalti")
    return paths


def inputs_of(name: str) -> list[Array]:
    """One input for each shape that a model is tried with."""
    rng = np.random.default_rng(len(name))
    if name == "reverse":
        return [rng.normal(size=shape).astype(np.float32) for shape in ((1, 1), (1, 1000), (3, 77))]
    if name == "demo":
        return [demo_image(0)[0][None], rng.integers(0, 256, (2, 65, 97, 3), np.uint8)]
    if name == "labels":
        return [rng.integers(0, 256, shape, np.uint8) for shape in ((1, 1, 1, 3), (4, 31, 17, 3))]
    return [rng.integers(0, 256, ({"pairs": 2}.get(name, 1), SIDE, SIDE, 3), np.uint8)]


@pytest.mark.parametrize("name", ["demo", "int8", "fat", "pairs", "labels", "reverse"])
def test_bits_are_those_of_python(library: Library, models: dict[str, Path], name: str) -> None:
    with smalti.load(models[name], threads=2) as python, library.open(models[name]) as model:
        key, result = python.inputs[0].name, python.outputs[0].name
        assert model.text("target") == python.target
        for threads in THREADS:
            with model.engine(threads) as engine:
                for array in (*inputs_of(name), *inputs_of(name)):
                    want = python.run({key: array})[result]
                    (got,) = engine.run(array)
                    assert got.dtype == want.dtype and got.shape == want.shape
                    assert got.tobytes() == want.tobytes(), f"{threads} threads, {array.shape}"


def test_thread_count_changes_between_calls(library: Library, models: dict[str, Path]) -> None:
    array = inputs_of("demo")[0]
    with smalti.load(models["demo"], threads=1) as python, library.open(models["demo"]) as model:
        want = python(array[0]).tobytes()
        with model.engine(2) as engine:
            for threads in (2, 5, 1, 8, 3, 16, 2):
                engine.set_threads(threads)
                assert engine.threads == threads
                assert engine.run(array)[0].tobytes() == want
            for threads in (0, -1, 1025):
                with pytest.raises(UsageError, match=f"from 1 to 1024, not {threads}"):
                    engine.set_threads(threads)
            assert engine.threads == 2


def test_where_the_bytes_come_from(library: Library, models: dict[str, Path]) -> None:
    array = inputs_of("fat")[0]
    with smalti.load(models["fat"]) as python:
        want = python(array[0]).tobytes()
    data = np.frombuffer(models["fat"].read_bytes(), np.uint8)
    room = np.zeros(len(data) + 128, np.uint8)
    start = -room.ctypes.data % 64
    for shift in (0, 1, 32):
        placed = room[start + shift : start + shift + len(data)]
        placed[:] = data
        model = library.open_memory(placed)
        if shift:
            placed[:] = 0  # memory that is not aligned is copied
        with model, model.engine(2) as engine:
            assert engine.run(array)[0].tobytes() == want
    with library.open(models["fat"], copy=True) as model, model.engine(2) as engine:
        assert engine.run(array)[0].tobytes() == want


def test_what_a_model_says(library: Library, models: dict[str, Path]) -> None:
    with smalti.load(models["fat"]) as python, library.open(models["fat"]) as model:
        manifest = python.manifest
        assert model.text("name") == manifest.graph["name"] and model.text("precision") == manifest.precision
        assert [model.text("label", i) for i in range(model.number("label_count"))] == list(LABELS)
        names = [model.text("program_target", i) for i in range(model.number("program_count"))]
        assert names == [str(target) for target in resolve_targets("native,generic")]
        assert model.text("target") == names[0] == python.target
        assert model.text("resize") == manifest.preprocess["resize"]
        assert model.number("input_size") == (manifest.preprocess["input_size"] or 0)
        with library.open(models["fat"], target=names[-1]) as other:
            assert other.text("target") == names[-1]
    with library.open(models["labels"]) as model:
        (info,) = model.infos("input")
        assert sizes(info) == [(-1, 1, -1), (-1, 1, 600), (-1, 1, 600), (3, 3, 3)] and info.name == b"image:0"
    with library.open(models["pairs"]) as model:
        assert sizes(model.infos("output")[0])[0] == (2, 2, 2)


def sizes(info: Info) -> list[tuple[int, int, int]]:
    return [(info.shape.dims[i], info.minimum[i], info.maximum[i]) for i in range(info.shape.rank)]


def as_spec(info: Info, layout: Layout) -> smalti.TensorSpec:
    """What C says of a tensor, as the value that Python has for it."""
    dtype = DType(DTYPES[info.dtype])
    shape: list[int | Size] = []
    for axis, (size, low, high) in enumerate(sizes(info)):
        symbol = layout.symbol[axis]
        if symbol is None:
            assert low == high == size and layout.multiple[axis] == 1
            shape.append(size)
        else:
            assert size == -1
            shape.append(Size(symbol.decode(), low, None if high == -1 else high, layout.multiple[axis]))
    return smalti.TensorSpec(info.name.decode(), dtype.numpy, dtype.value, layout.layout.decode(), tuple(shape))


def assert_same_signature(python: smalti.Engine, model: Model) -> None:
    for what, want in (("input", python.inputs), ("output", python.outputs)):
        got = [as_spec(*pair) for pair in zip(model.infos(what), model.layouts(what), strict=True)]
        assert got == list(want), what


@pytest.mark.parametrize("name", ["demo", "int8", "fat", "pairs", "labels", "reverse"])
def test_inputs_and_outputs_are_those_of_python(library: Library, models: dict[str, Path], name: str) -> None:
    with smalti.load(models[name], threads=1) as python, library.open(models[name]) as model:
        assert_same_signature(python, model)
        assert model.text("precision") == python.precision
        labels = [model.text("label", i) for i in range(model.number("label_count"))]
        assert labels == list(python.labels or ())


def test_what_is_not_there_has_no_layout(library: Library, models: dict[str, Path]) -> None:
    with library.open(models["labels"]) as model:
        for what in ("input", "output"):
            call, layout = getattr(library.functions, f"smalti_model_{what}_layout"), ctypes.byref(Layout())
            for handle, index, out, words in (
                (model.handle, 1, layout, "there is no tensor 1"),
                (model.handle, 0, None, "there is no tensor 0"),
                (None, 0, layout, "model must not be NULL"),
            ):
                arguments = (handle, ctypes.c_size_t(index), out)
                with pytest.raises(UsageError, match=words):
                    library.check(lambda e, c=call, a=arguments: c(*a, e))


def outcome(call: Callable[[], Any]) -> Any:
    """What a call returns, or the class and the words of its error."""
    try:
        return call()
    except SmaltiError as error:
        return type(error), str(error)[:1000]


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("labels", (1, 4, 4)),
        ("labels", (1, 4, 4, 4)),
        ("labels", (0, 4, 4, 3)),
        ("labels", (1, 0, 4, 3)),
        ("labels", (1, 4, 601, 3)),
        ("labels", ()),
        ("labels", (1,) * 16),
        ("labels", (5, 600, 600, 3)),
        ("labels", (2**62, 600, 600, 3)),
        ("reverse", (2, 100_001)),
        ("reverse", (1, 2**63 - 1)),
        ("fat", (1, SIDE + 1, SIDE, 3)),
        ("fat", (2, SIDE, SIDE, 3)),
        ("pairs", (1, SIDE, SIDE, 3)),
        ("pairs", (2, SIDE, SIDE + 1, 3)),
    ],
)
def test_shapes_have_the_same_answers(
    library: Library, models: dict[str, Path], name: str, shape: tuple[int, ...]
) -> None:
    with smalti.load(models[name], threads=3) as python, library.open(models[name]) as model:
        key = python.inputs[0].name
        with model.engine(3) as engine:
            want = outcome(lambda: list(python.output_shapes({key: shape}).values()))
            assert outcome(lambda: engine.output_shapes(shape)) == want
            want = outcome(lambda: python.workspace_bytes({key: shape}))
            assert outcome(lambda: engine.workspace_bytes(shape)) == want


def random_manifest(rng: random.Random) -> Manifest:
    """A manifest whose sizes are computed at random; about half of them fit the shapes below."""
    symbols = tuple(
        Symbol(f"S{i}", rng.choice((1, 2, 5)), rng.choice((None, 64)), rng.choice((1, 1, 2))) for i in range(2)
    )
    dims = [DimInstr(DimOp.CONST, 1), DimInstr(DimOp.SYMBOL, 0), DimInstr(DimOp.SYMBOL, 1)]
    dims += [
        DimInstr(DimOp.CONST, rng.choice((0, 2, 3, 8, 64, 4096, 2**31, -1, -3, 2**62, -(2**63)))) for _ in range(3)
    ]
    ops = [op for op in DimOp if op.is_binary]
    for at in range(6, 6 + rng.randrange(1, 14)):
        dims.append(DimInstr(rng.choice(ops), rng.randrange(at), rng.randrange(at)))

    def some(count: int) -> tuple[int, ...]:
        return tuple(rng.choice((1, 2, 3, rng.randrange(len(dims)))) for _ in range(rng.randrange(count)))

    steps = tuple(Step(f"step {i} 'é'", "k", "o", some(4), 0, 0, some(3)) for i in range(rng.randrange(1, 6)))
    arena = []
    for i in range(rng.randrange(12)):
        first = rng.randrange(len(steps))
        arena.append(
            ArenaBuffer(f"b{i}", rng.randrange(len(dims)), first, rng.randrange(first, len(steps)), rng.random() < 0.3)
        )
    shape = (0, 1, 2, rng.choice((0, 1, rng.randrange(len(dims)))))[: rng.choice((3, 4, 4))]
    return replace(
        reverse_manifest(),
        inputs=(TensorSpec("x:0", DType.FLOAT32, shape),),
        outputs=(TensorSpec("y:0", DType.INT8, some(5)), TensorSpec('z "0"', DType.INT64, (0, 1))),
        symbols=symbols,
        dims=tuple(dims),
        steps=steps,
        arena=tuple(arena),
    )


def test_random_plans_are_those_of_python(library: Library, tmp_path: Path) -> None:
    rng = random.Random(7)
    path, counts = tmp_path / "m.smalti", {True: 0, False: 0}
    for number in range(RANDOM_MANIFESTS):
        manifest = random_manifest(rng)
        Parts(manifest, b"", plain_parts().code).write(path)
        threads = rng.choice((1, 2, 7))
        with smalti.load(path, threads=threads) as python, library.open(path) as model, model.engine(threads) as engine:
            assert_same_signature(python, model)
            for _ in range(3):
                shape = [rng.choice((1, 1, 3)), *(rng.choice((2, 6, 10, 64, 65, 300)) for _ in range(2))]
                shape = [*shape, rng.choice((1, shape[1], 7))][: len(manifest.inputs[0].shape)]
                want = outcome(lambda p=python, s=shape: list(p.output_shapes({"x": s}).values()))
                assert outcome(lambda e=engine, s=shape: e.output_shapes(s)) == want, f"manifest {number}, {shape}"
                want = outcome(lambda p=python, s=shape: p.workspace_bytes({"x": s}))
                assert outcome(lambda e=engine, s=shape: e.workspace_bytes(s)) == want, f"manifest {number}, {shape}"
                counts[isinstance(want, int)] += 1
    assert min(counts.values()) > RANDOM_MANIFESTS // 5, counts


def test_more_plans_than_are_kept(library: Library, models: dict[str, Path]) -> None:
    with library.open(models["reverse"]) as model, model.engine(2) as engine:
        for turn in range(2):
            for size in range(1, 41):
                array = np.arange(size, dtype=np.float32)[None]
                assert (engine.run(array)[0] == 2 * array[:, ::-1] + np.float32(0.5)).all(), (turn, size)


def test_several_inputs_of_one_batch(library: Library, tmp_path: Path) -> None:
    manifest = replace(
        label_manifest(None),
        inputs=tuple(TensorSpec(name, DType.UINT8, (0, 1, 2, 3)) for name in ("a:0", "b:0")),
    )
    path = Parts(manifest, b"", plain_parts().code).write(tmp_path / "two.smalti")
    with smalti.load(path, threads=1) as python, library.open(path) as model, model.engine(1) as engine:
        for shapes in (((2, 5, 5, 3), (2, 5, 5, 3)), ((2, 5, 5, 3), (3, 5, 5, 3)), ((1, 5, 5, 3), (1, 5, 6, 3))):
            want = outcome(
                lambda p=python, s=shapes: list(p.output_shapes(dict(zip(("a", "b"), s, strict=True))).values())
            )
            assert outcome(lambda e=engine, s=shapes: e.output_shapes(*s)) == want
