"""A module of PyTorch becomes an offline model file: PyTorch's own exporter writes ONNX, and the build reads that.

PyTorch is imported when it is asked for, and never else.
"""

from __future__ import annotations

import re
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from smalti.building.build import BuildProgress, BuildResult, build
from smalti.compiler import CompileOptions
from smalti.errors import GraphError, UsageError
from smalti.quant.record import CalibrationRecord
from smalti.target.host import resolve_targets

INSTALL: Final = "pip install torch onnx onnxscript"
IMAGE_RANK: Final = 4
SIDES: Final = {2: "height", 3: "width"}
MAX_MULTIPLE: Final = 4096
_MAX_SAID: Final = 1200
_OPSET: Final = 17
"""Of the TorchScript exporter, whose highest it is without gaps; the other one chooses its own."""
_MODEL: Final = "network.onnx"
_SUMMARY: Final = "## Exception summary"
_AFTER: Final = "(Refer to the full stack trace"

# What exporters raise: their own errors are RuntimeErrors, and code of the module that is traced raises the others.
_FAILURES: Final = (
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    ArithmeticError,
)


class TorchExporter(str, Enum):
    """Which exporter of PyTorch writes the ONNX model."""

    DYNAMO = "dynamo"
    TORCHSCRIPT = "torchscript"


def from_torch(
    module: Any,
    example: Any,
    path: str | Path,
    options: CompileOptions | None = None,
    *,
    dynamic: bool = True,
    multiple: int = 1,
    exporter: TorchExporter | str = TorchExporter.DYNAMO,
    output: str | None = None,
    onnx_path: str | Path | None = None,
    record: CalibrationRecord | None = None,
    progress: BuildProgress | None = None,
) -> BuildResult:
    """Export a module of PyTorch and build the offline model file: what ``smalti build --model network.onnx`` does.

    The module is exported in evaluation mode, without gradients; its own mode is what it was afterwards.

    Args:
        module: a ``torch.nn.Module``.
        example: a tensor float32 [1, C, H, W], or a tuple of the tensors that the module takes: what it is traced with.
        path: the offline model file to write.
        options: what to make of the graph, such as ``pictures`` for a file that takes pictures and gives labels;
            ``None``: float32 for this CPU, the network's own arrays in and out.
        dynamic: leave heights and widths open (the last two sizes of tensors of 4 dimensions); ``False``: those of the
            example.
        multiple: what open heights and widths are a multiple of. Networks that check their sizes, such as those of
            segmentation_models_pytorch, are exported with their own number only (32).
        exporter: ``dynamo``, or ``torchscript``, the older one: the second way where the first fails.
        output: the entry that is meant where the module answers with a dictionary (``"out"`` in torchvision).
        onnx_path: where to keep the ONNX model; ``None``: nowhere.
        record: ranges of the activations, for the modes that quantise.
        progress: told in words what comes next.

    Returns:
        What was built, as ``smalti.apps.build`` says it.

    Raises:
        UsageError: PyTorch, or what its exporter needs, is not installed, or an argument does not fit.
        GraphError: the exporter failed (the text has its message and the other way), or its graph is not supported.
    """
    chosen = _exporter(exporter)
    if not 1 <= multiple <= MAX_MULTIPLE:
        raise UsageError(f"multiple must be 1 to {MAX_MULTIPLE}, not {multiple}")
    torch = _torch()
    if not isinstance(module, torch.nn.Module):
        raise UsageError(f"from_torch takes a torch.nn.Module, not {type(module).__name__}: give the network itself")
    tensors = example if isinstance(example, tuple) else (example,)
    if not tensors or not all(isinstance(tensor, torch.Tensor) for tensor in tensors):
        raise UsageError("the example must be a tensor or a tuple of tensors, such as torch.zeros(1, 3, 512, 512)")
    if progress is not None:
        progress(f"exporting the module with PyTorch's {chosen.value} exporter")
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / _MODEL if onnx_path is None else Path(onnx_path)
        model.parent.mkdir(parents=True, exist_ok=True)
        network = module if output is None else _entry_of(torch, module, output)
        _export(torch, network, tensors, model, chosen, multiple if dynamic else 0, output is not None)
        made = CompileOptions(resolve_targets("native")) if options is None else options
        return build(model, Path(path), made, record=record, progress=progress)


def _exporter(named: TorchExporter | str) -> TorchExporter:
    known = [one.value for one in TorchExporter]
    if named not in known:
        raise UsageError(f"exporter must be {' or '.join(known)}, not {named!r}")
    return TorchExporter(named)


def _torch() -> Any:
    try:
        return import_module("torch")
    except ImportError as error:
        raise UsageError(f"PyTorch cannot be imported ({error}): install it with `{INSTALL}`") from error


def _entry_of(torch: Any, module: Any, output: str) -> Any:
    """Return a module that answers with one entry of the module's dictionary."""
    found: Any = torch.nn.Module

    class Entry(found):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = module

        def forward(self, *tensors: Any) -> Any:
            return self.network(*tensors)[output]

    return Entry()


def _export(
    torch: Any,
    module: Any,
    tensors: tuple[Any, ...],
    path: Path,
    how: TorchExporter,
    multiple: int,
    gathers: bool,
) -> None:
    """Write the ONNX model; sizes are open in steps of ``multiple``, or closed for 0."""
    names = ["image"] if len(tensors) == 1 else [f"input_{i}" for i in range(len(tensors))]
    said: dict[str, Any] = {"input_names": names, "dynamo": how is TorchExporter.DYNAMO, "verbose": False}
    if how is TorchExporter.TORCHSCRIPT:
        said["opset_version"] = _OPSET
    if multiple:
        opened = _open_sizes(tensors)
        if how is TorchExporter.TORCHSCRIPT:
            said["dynamic_axes"] = dict(zip(names, opened, strict=True))
        else:
            dims = {n: _dim(torch, n, multiple) for n in sorted({n for axes in opened for n in axes.values()})}
            shapes = tuple({axis: dims[n] for axis, n in axes.items()} for axes in opened)
            # What takes *tensors has one argument, which is a tuple.
            said["dynamic_shapes"] = (shapes,) if gathers else shapes
    other = next(one.value for one in TorchExporter if one is not how)
    try:
        with _evaluating(module), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(module, tensors, str(path), **said)
    except ImportError as error:
        raise UsageError(f"PyTorch's exporter lacks a package ({error}): install it with `{INSTALL}`") from error
    except _FAILURES as error:
        sizes = "" if not multiple else ", multiple=32 (or what the network's sizes are a multiple of), dynamic=False"
        raise GraphError(
            f"PyTorch's {how.value} exporter failed with {type(error).__name__}: {_short(str(error))}\n"
            f'  other ways: give exporter="{other}"{sizes}'
        ) from error


def _open_sizes(tensors: tuple[Any, ...]) -> list[dict[int, str]]:
    """Return the name of each open size by axis; sides that are equal in the examples are one size."""
    known: dict[tuple[int, int], str] = {}
    found = []
    for tensor in tensors:
        axes = SIDES if len(tensor.shape) == IMAGE_RANK else {}
        for axis, side in axes.items():
            count = sum(1 for at, _ in known if at == axis)
            known.setdefault((axis, int(tensor.shape[axis])), f"{side}_{count}" if count else side)
        found.append({axis: known[axis, int(tensor.shape[axis])] for axis in axes})
    return found


def _dim(torch: Any, name: str, multiple: int) -> Any:
    dim = torch.export.Dim(name, min=2)
    return dim if multiple == 1 else multiple * dim


@contextmanager
def _evaluating(module: Any) -> Iterator[None]:
    """Put a module and all in it into evaluation mode, and back into the mode that each had."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def _short(text: str) -> str:
    """Return what an exporter said, without colours and without how to report it to PyTorch."""
    text = text.rpartition(_SUMMARY)[2].partition(_AFTER)[0]
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    said = "\n".join(line.rstrip() for line in text.strip().splitlines() if line.strip())
    return said if len(said) <= _MAX_SAID else f"{said[:_MAX_SAID]} ..."
