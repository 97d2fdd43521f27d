"""A module of PyTorch is exported and built: with a stand-in for PyTorch everywhere, with PyTorch where it is."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import smalti
from smalti import from_torch
from smalti.building.pytorch import INSTALL
from smalti.errors import GraphError, UsageError
from tolerance import Tol, assert_close

onnx = pytest.importorskip("onnx", reason="the onnx package is not installed")
THERE = importlib.util.find_spec("torch") is not None and importlib.util.find_spec("onnxscript") is not None


class Tensor:
    """A stand-in for a tensor: its shape."""

    def __init__(self, *shape: int) -> None:
        self.shape = shape


class Dim:
    """A stand-in for an open size."""

    def __init__(self, name: str, min: int) -> None:
        self.said = f"{name} from {min}"

    def __rmul__(self, number: int) -> str:
        return f"{number} * {self.said}"


class Module:
    """A stand-in for a module, which is in training mode."""

    def __init__(self) -> None:
        self.training = True

    def modules(self) -> list[Module]:
        return [self, *(part for part in vars(self).values() if isinstance(part, Module))]

    def eval(self) -> None:
        for part in self.modules():
            part.training = False

    def __call__(self, *tensors: Any) -> Any:
        return {"out": "scores", "aux": "others"}


class NoGrad:
    """A stand-in for the block without gradients."""

    def __enter__(self) -> None: ...
    def __exit__(self, *_raised: object) -> None: ...


class Exporter:
    """A stand-in for PyTorch's exporter: notes what it was told, and writes a small ONNX model or fails."""

    def __init__(self) -> None:
        self.said: dict[str, Any] = {}
        self.path = ""
        self.answer: Any = None
        self.failure: Exception | None = None

    def __call__(self, module: Module, tensors: tuple[Tensor, ...], path: str, **said: Any) -> None:
        self.said, self.path = said, path
        assert not any(part.training for part in module.modules())
        self.answer = module.forward(*tensors) if hasattr(module, "forward") else module(*tensors)
        if self.failure is not None:
            raise self.failure
        helper = onnx.helper
        shape = [1, 3, "height", "width"]
        node = helper.make_node("Relu", ["image"], ["logits"])
        image, logits = (helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, shape) for n in ("image", "logits"))
        graph = helper.make_graph([node], "g", [image], [logits])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        Path(path).write_bytes(model.SerializeToString())


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Exporter:
    made = Exporter()
    torch = SimpleNamespace(
        nn=SimpleNamespace(Module=Module),
        Tensor=Tensor,
        no_grad=NoGrad,
        export=SimpleNamespace(Dim=Dim),
        onnx=SimpleNamespace(export=made),
    )
    monkeypatch.setitem(sys.modules, "torch", torch)  # type: ignore[arg-type]
    return made


def test_a_module_becomes_a_model_file(exporter: Exporter, tmp_path: Path) -> None:
    told: list[str] = []
    module = Module()
    made = from_torch(module, Tensor(1, 3, 64, 96), tmp_path / "m.smalti", progress=told.append)
    assert module.training and told[0] == "exporting the module with PyTorch's dynamo exporter"
    assert made.report.inputs[0].type == "float32[1, 3, H, W]"
    assert exporter.said["dynamo"] is True and exporter.said["input_names"] == ["image"]
    (axes,) = exporter.said["dynamic_shapes"]
    assert {axis: dim.said for axis, dim in axes.items()} == {2: "height from 2", 3: "width from 2"}
    assert not Path(exporter.path).exists()
    picture = np.array([[[[-1.0, 2.0]]] * 3], np.float32).reshape(1, 3, 1, 2)
    with smalti.load(made.path, 1) as engine:
        assert engine.run({"image": picture})["logits"].tolist() == np.maximum(picture, 0).tolist()


def test_the_second_way_and_closed_sizes(exporter: Exporter, tmp_path: Path) -> None:
    kept = tmp_path / "onnx" / "kept.onnx"
    from_torch(Module(), Tensor(1, 3, 8, 8), tmp_path / "m.smalti", exporter="torchscript", onnx_path=kept)
    assert exporter.said["dynamo"] is False and kept.is_file()
    assert exporter.said["dynamic_axes"] == {"image": {2: "height", 3: "width"}}
    from_torch(Module(), Tensor(1, 3, 8, 8), tmp_path / "m.smalti", dynamic=False)
    assert not {"dynamic_axes", "dynamic_shapes"} & set(exporter.said)


def test_open_sizes_in_steps_and_of_several_tensors(exporter: Exporter, tmp_path: Path) -> None:
    tensors = (Tensor(1, 3, 64, 96), Tensor(1, 1, 64, 48), Tensor(7))
    # The stand-in writes a graph of one input, which is all that is built here.
    from_torch(Module(), tensors, tmp_path / "m.smalti", multiple=32)
    assert exporter.said["input_names"] == ["input_0", "input_1", "input_2"]
    assert exporter.said["dynamic_shapes"] == (
        {2: "32 * height from 2", 3: "32 * width from 2"},
        {2: "32 * height from 2", 3: "32 * width_1 from 2"},
        {},
    )


def test_one_entry_of_a_dictionary(exporter: Exporter, tmp_path: Path) -> None:
    class Inside(Module):
        def __call__(self, *tensors: Any) -> Any:
            return {"out": len(tensors), "aux": None}

    module = Inside()
    from_torch(module, Tensor(1, 3, 8, 8), tmp_path / "m.smalti", output="out")
    assert exporter.answer == 1 and module.training
    assert len(exporter.said["dynamic_shapes"]) == 1 and len(exporter.said["dynamic_shapes"][0]) == 1


@pytest.mark.parametrize(("first", "second"), [("dynamo", "torchscript"), ("torchscript", "dynamo")])
def test_a_failure_has_the_message_and_the_other_way(
    exporter: Exporter, tmp_path: Path, first: str, second: str
) -> None:
    text = "step 1\n## Exception summary\n\x1b[96mno such thing\x1b[0m\n(Refer to the full stack trace above)"
    exporter.failure = RuntimeError(text)
    module = Module()
    with pytest.raises(GraphError) as raised:
        from_torch(module, Tensor(1, 3, 8, 8), tmp_path / "m.smalti", exporter=first)
    said = str(raised.value)
    assert f"{first} exporter failed with RuntimeError: no such thing\n" in said and f'exporter="{second}"' in said
    assert "\x1b" not in said and "step 1" not in said and module.training
    assert raised.value.__cause__ is exporter.failure and not (tmp_path / "m.smalti").exists()


def test_a_long_failure_is_cut_and_a_missing_package_named(exporter: Exporter, tmp_path: Path) -> None:
    exporter.failure = TypeError("x" * 100_000)
    with pytest.raises(GraphError, match="TypeError: x") as raised:
        from_torch(Module(), Tensor(1, 3, 8, 8), tmp_path / "m.smalti")
    assert len(str(raised.value)) < 2000
    exporter.failure = ModuleNotFoundError("No module named 'onnxscript'")
    with pytest.raises(UsageError, match=f"onnxscript.*{INSTALL}"):
        from_torch(Module(), Tensor(1, 3, 8, 8), tmp_path / "m.smalti")


WRONG: list[tuple[Callable[[Path], Any], str]] = [
    (lambda path: from_torch("network.pt", Tensor(1, 3, 8, 8), path), "takes a torch.nn.Module, not str"),
    (lambda path: from_torch(Module(), np.zeros((1, 3, 8, 8)), path), "must be a tensor or a tuple of tensors"),
    (lambda path: from_torch(Module(), (), path), "must be a tensor or a tuple of tensors"),
    (lambda path: from_torch(Module(), Tensor(1, 3, 8, 8), path, exporter="jit"), "dynamo or torchscript, not 'jit'"),
    (lambda path: from_torch(Module(), Tensor(1, 3, 8, 8), path, multiple=0), "1 to 4096, not 0"),
]


@pytest.mark.parametrize(("call", "said"), WRONG)
def test_wrong_arguments(exporter: Exporter, tmp_path: Path, call: Callable[[Path], Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        call(tmp_path / "m.smalti")
    assert not exporter.said


def test_without_pytorch_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UsageError, match=f"PyTorch cannot be imported .* install it with `{INSTALL}`"):
        from_torch(object(), object(), tmp_path / "m.smalti")


@pytest.mark.skipif(not THERE, reason="PyTorch and onnxscript are not installed")
@pytest.mark.parametrize("how", ["dynamo", "torchscript"])
def test_a_real_module_agrees_at_other_sizes(tmp_path: Path, how: str) -> None:
    torch = importlib.import_module("torch")
    torch.manual_seed(1)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, 2, 1), torch.nn.BatchNorm2d(8), torch.nn.SiLU())
    made = from_torch(network, torch.rand(1, 3, 64, 64), tmp_path / "m.smalti", exporter=how)
    assert network.training
    network.eval()
    with smalti.load(made.path, 1) as engine, torch.no_grad():
        for size in ((320, 320), (97, 131)):
            x = torch.rand(1, 3, *size)
            (found,) = engine.run({"image": x.numpy()}).values()
            assert_close(found, network(x).numpy(), Tol.FLOAT(reduction=27))
