"""What a measured model is fed with: shape groups, generated textured input or real pictures, never one constant."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from smalti.artifact.manifest import DimInstr, DimOp, Manifest, TensorSpec
from smalti.delivery.inspect import inspect
from smalti.errors import DataError, ImageError, UsageError
from smalti.jobs.pictures import PassedOver
from smalti.jobs.stream import OnError, Preprocess, choose_preprocess, read_entry
from smalti.numerics import DType
from smalti.runtime.dims import Shape
from smalti.runtime.engine import Engine
from smalti.strict_json import Fields, JsonFault, anything, document, list_of, map_of, optional, text
from smalti.vision.images import read_file
from smalti.vision.preprocess import resize_labels, resize_picture, target_size
from smalti.vision.voc import PicturePaths, find_pictures

Array = NDArray[Any]
Arrays = Mapping[str, Array]

POOL = 8
MAX_PICTURES = 64
MAX_GROUPS = 64
MAX_NAME_OF_GROUP = 100
MAX_CONFIG_BYTES = 1 << 20
_ONE = DimInstr(DimOp.CONST, 1)
OWN_SIZES = "own sizes"
_RANK_OF_IMAGES = 4
_RGB = 3


@dataclass(frozen=True, slots=True)
class ShapeGroup:
    """Input shapes that are measured together; ``shapes`` None: every picture at its own size."""

    name: str
    shapes: Mapping[str, Shape] | None

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        shapes = None if self.shapes is None else {name: list(shape) for name, shape in self.shapes.items()}
        return {"name": self.name, "inputs": shapes}


class Source(Protocol):
    """Where the inputs of a group come from.  ``prepare`` and ``finish`` are the timed work around the network."""

    @property
    def group(self) -> ShapeGroup:
        """The shapes that this source gives."""
        ...

    def shapes_of(self, index: int) -> Mapping[str, Shape]:
        """Return the input shapes of request ``index``."""
        ...

    def prepare(self, index: int) -> Arrays:
        """Return the inputs of request ``index``: what an application does before the network."""
        ...

    def finish(self, index: int, outputs: Sequence[Array]) -> Sequence[Array]:
        """Return the results of request ``index``: what an application does behind the network."""
        ...


def parse_dims(texts: Sequence[str]) -> tuple[Shape, ...]:
    """Return the shapes of ``1x513x513x3`` texts, each of which may hold several with commas.

    Raises:
        UsageError: a text is no shape.
    """
    shapes = []
    for dims in ",".join(texts).split(",") if texts else ():
        if re.fullmatch(r"[1-9][0-9]{0,8}(x[1-9][0-9]{0,8}){0,15}", dims.strip(), re.ASCII) is None:
            raise UsageError(f"input dims are written 1x513x513x3, several with commas, not {dims[:40]!r}")
        shapes.append(tuple(int(size) for size in dims.strip().split("x")))
    return tuple(shapes)


def read_run_config(path: Path, manifest: Manifest) -> tuple[ShapeGroup, ...]:
    """Return the shape groups of a JSON file: ``{"groups": [{"name": "a", "inputs": ...}, ...]}``.

    ``inputs`` is a list of shapes in the order of the model's inputs, or an object from input name to shape; a group
    without a name gets that of its shapes.

    Raises:
        UsageError: there is no such file, or no such input.
        DataError: the file is not such JSON.
    """
    try:
        take = Fields(document(read_file(path, max_bytes=MAX_CONFIG_BYTES), max_bytes=MAX_CONFIG_BYTES))
        groups = take("groups", list_of(lambda value, where: _config_group(path, value, where, manifest)))
        take.finish()
    except JsonFault as fault:
        raise DataError(f'{path}: {fault}; give one object with the key "groups" and a list') from fault
    return _checked(groups)


def choose_groups(
    manifest: Manifest, model: Path, dims: Sequence[str], run_config: Path | None, *, has_pictures: bool
) -> tuple[ShapeGroup, ...]:
    """Return the shape groups to measure: those asked for, else the pictures' own sizes, else the model's default.

    Raises:
        UsageError: an option does not fit the model or another option.
        DataError: the run config is damaged.
    """
    if dims and run_config is not None:
        raise UsageError("give --input-dims or --run-config, not both")
    if run_config is not None:
        return read_run_config(run_config, manifest)
    if dims:
        if len(manifest.inputs) != 1:
            raise UsageError(f"this model has {len(manifest.inputs)} inputs: give their shapes with --run-config")
        name = manifest.inputs[0].name
        return _checked(tuple(_named({name: shape}) for shape in parse_dims(dims)))
    if has_pictures and manifest.symbols:
        return (ShapeGroup(OWN_SIZES, None),)
    return (_named({tensor.name: tensor.at_size for tensor in inspect(model).inputs}),)


def with_batch(group: ShapeGroup, batch: int | None, manifest: Manifest) -> tuple[ShapeGroup, int]:
    """Return the group with the leading dimension of its inputs set to a batch size, and that batch size.

    None takes the model's own batch size, or what the shapes say.

    Raises:
        UsageError: the shapes say another batch size, or the model has a fixed one.
    """
    fixed = manifest.batch_size if manifest.batch_size not in (None, 1) else None
    if group.shapes is None:
        return group, _agreed(batch or fixed or 1, fixed)
    if not takes_batch(manifest):
        if batch not in (None, 1):
            raise UsageError("the inputs of this model have no leading dimension for a batch: leave --batch away")
        return group, 1
    leading = {shape[0] for shape in group.shapes.values() if shape}
    said = leading.pop() if len(leading) == 1 else 1
    wanted = _agreed(batch or fixed or said, fixed)
    if said not in (1, wanted):
        raise UsageError(f"--batch {wanted} does not fit the input dims of {group.name}")
    if wanted == said:
        return group, wanted
    shapes = {name: (wanted, *shape[1:]) for name, shape in group.shapes.items()}
    return ShapeGroup(_name(shapes) if group.name == _name(group.shapes) else group.name, shapes), wanted


def takes_batch(manifest: Manifest) -> bool:
    """Return whether every input has a leading dimension for the images of a batch."""
    return all(tensor.shape and manifest.dims[tensor.shape[0]] == _ONE for tensor in manifest.inputs)


def part_shapes(manifest: Manifest, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    """Return the shapes that the engine plans for: one image, or the whole batch where the model has a fixed one."""
    if manifest.batch_size not in (None, 1) or not takes_batch(manifest):
        return dict(shapes)
    return {name: (1, *shape[1:]) for name, shape in shapes.items()}


def is_image_model(manifest: Manifest) -> bool:
    """Return whether the model maps one RGB picture to one label map."""
    if len(manifest.inputs) != 1 or len(manifest.outputs) != 1:
        return False
    tensor, output = manifest.inputs[0], manifest.outputs[0]
    channels = manifest.dims[tensor.shape[-1]].a if len(tensor.shape) == _RANK_OF_IMAGES else 0
    return tensor.dtype is DType.UINT8 and channels == _RGB and not output.dtype.is_float


class Generated:
    """Eight different generated inputs for each request shape, in turns; a request copies the next one."""

    def __init__(self, manifest: Manifest, group: ShapeGroup, seed: int = 1) -> None:
        if group.shapes is None:
            raise UsageError("own sizes need pictures: give --image-dir")
        self._group = group
        self._shapes = group.shapes
        generator = np.random.default_rng(seed)
        # Memory that there is not is refused here, not missed after minutes of filling what there is.
        _bytes((POOL, sum(math.prod(self._shape(t)) * t.dtype.itemsize for t in manifest.inputs)))
        self._pool = [
            {tensor.name: _values(tensor, self._shape(tensor), generator) for tensor in manifest.inputs}
            for _ in range(POOL)
        ]

    @property
    def group(self) -> ShapeGroup:
        """The shapes of the group."""
        return self._group

    def shapes_of(self, index: int) -> Mapping[str, Shape]:
        """Return the shapes, which are those of the group."""
        return self._shapes

    def prepare(self, index: int) -> Arrays:
        """Return a copy of the next generated input: an application's input is new to the caches, too."""
        return {name: array.copy() for name, array in self._pool[index % POOL].items()}

    def finish(self, index: int, outputs: Sequence[Array]) -> Sequence[Array]:
        """Return copies of the outputs."""
        return [output.copy() for output in outputs]

    def _shape(self, tensor: TensorSpec) -> Shape:
        shape = self._shapes.get(tensor.name)
        if shape is None:
            raise UsageError(f"the shape group {self._group.name} lacks input {tensor.name!r}")
        return shape


class Pictures:
    """Decoded pictures in turns, scaled to the group's size; label maps are scaled back to the pictures' sizes."""

    def __init__(
        self,
        manifest: Manifest,
        group: ShapeGroup,
        batch: int,
        pictures: Sequence[NDArray[np.uint8]],
        preprocess: Preprocess | None,
    ) -> None:
        self._name = manifest.inputs[0].name
        self._group = group
        self._batch = batch
        self._pictures = pictures
        self._preprocess = preprocess
        shape = None if group.shapes is None else group.shapes.get(self._name)
        if shape is not None and (len(shape) != _RANK_OF_IMAGES or shape[3] != _RGB):
            raise UsageError(f"pictures need input dims NxHxWx3, not those of {group.name}")
        self._size = None if shape is None else (shape[1], shape[2])

    @property
    def group(self) -> ShapeGroup:
        """The shapes of the group."""
        return self._group

    def shapes_of(self, index: int) -> Mapping[str, Shape]:
        """Return the shape of this request's input; the pictures of one batch share one size."""
        return {self._name: (self._batch, *self._size_of(self._pictures[self._first(index)]), _RGB)}

    def prepare(self, index: int) -> Arrays:
        """Return the next pictures at the network's size, stacked to a batch."""
        first = self._first(index)
        size = self._size_of(self._pictures[first])
        seen = _bytes((self._batch, *size, _RGB))
        for k in range(self._batch):
            seen[k] = resize_picture(self._pictures[self._at(first + k)], *size)
        return {self._name: seen}

    def finish(self, index: int, outputs: Sequence[Array]) -> Sequence[Array]:
        """Return the label maps at the sizes of their pictures."""
        if outputs[0].ndim != 3:
            return [output.copy() for output in outputs]
        first = self._first(index)
        sides = [self._pictures[self._at(first + k)].shape[:2] for k in range(self._batch)]
        return [resize_labels(labels, *side) for labels, side in zip(outputs[0], sides, strict=True)]

    def _first(self, index: int) -> int:
        return self._at(index * self._batch)

    def _at(self, index: int) -> int:
        return index % len(self._pictures)

    def _size_of(self, picture: NDArray[np.uint8]) -> tuple[int, int]:
        if self._size is not None:
            return self._size
        if self._preprocess is None:
            return picture.shape[0], picture.shape[1]
        return target_size(picture.shape[0], picture.shape[1], self._preprocess.resize, self._preprocess.input_size)


def read_pictures(
    image_dir: PicturePaths,
    file_list: Path | None = None,
    *,
    recursive: bool = False,
    passed_over: PassedOver | None = None,
) -> list[NDArray[np.uint8]]:
    """Return the first 64 pictures of a folder, decoded, so that they fit into memory.

    ``passed_over`` is told of those that are no good.

    Raises:
        UsageError: there is no picture.
        ImageError: none can be decoded, or one cannot and there is no ``passed_over``, or it is to stop there.
    """
    entries = find_pictures(image_dir, file_list, MAX_PICTURES, recursive=recursive)
    given = PassedOver(OnError.STOP) if passed_over is None else passed_over
    given.leave_out(entries)
    pictures = []
    for entry in entries:
        try:
            pictures.append(read_entry(entry).picture)
        except ImageError as error:
            given.add(entry, error)
    given.check(len(pictures))
    return pictures


def make_source(
    engine: Engine, group: ShapeGroup, batch: int, pictures: Sequence[NDArray[np.uint8]] | None, seed: int = 1
) -> Source:
    """Return where the inputs of a group come from.

    Raises:
        UsageError: pictures do not fit this model, or the group.
    """
    if pictures is None:
        return Generated(engine.manifest, group, seed)
    if not is_image_model(engine.manifest):
        raise UsageError("this model does not map one picture to one label map: leave --image-dir away")
    preprocess = choose_preprocess(engine) if group.shapes is None else None
    return Pictures(engine.manifest, group, batch, pictures, preprocess)


def _bytes(shape: Shape) -> NDArray[np.uint8]:
    """Return room for an array. Raises MemoryError, also where numpy would not even count the bytes."""
    if math.prod(shape) > sys.maxsize:
        raise MemoryError
    return np.empty(shape, np.uint8)


def textured_picture(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    """Return a generated RGB picture uint8 [height, width, 3]: smooth blobs of colour with grain."""
    return _texture((height, width, _RGB), np.random.default_rng(seed))


def _values(tensor: TensorSpec, shape: Shape, generator: np.random.Generator) -> Array:
    dtype = tensor.dtype
    if dtype is DType.BFLOAT16:
        bits = generator.standard_normal(shape, dtype=np.float32).view(np.uint32) >> 16
        return bits.astype(np.uint16)
    if dtype.is_float:
        return generator.standard_normal(shape, dtype=np.float32).astype(dtype.numpy)
    if dtype is DType.BOOL:
        return generator.integers(0, 2, shape).astype(np.bool_)
    if dtype is DType.UINT8 and len(shape) == _RANK_OF_IMAGES and shape[3] == _RGB:
        return np.stack([_texture(shape[1:], generator) for _ in range(shape[0])])
    return generator.integers(0, 128, shape).astype(dtype.numpy)


def _texture(shape: Shape, generator: np.random.Generator) -> NDArray[np.uint8]:
    height, width, _ = shape
    coarse = generator.integers(0, 256, (height // 32 + 2, width // 32 + 2, _RGB), dtype=np.uint8)
    smooth = resize_picture(coarse, height, width).astype(np.int16)
    grain = generator.integers(-24, 25, shape, dtype=np.int16)
    textured: NDArray[np.uint8] = np.clip(smooth + grain, 0, 255).astype(np.uint8)
    return textured


def _config_group(path: Path, value: Any, where: str, manifest: Manifest) -> ShapeGroup:
    take = Fields(value, where)
    given, name = take("inputs", anything), take.get("name", optional(_group_name), None)
    take.finish()
    if isinstance(given, list):
        if len(given) != len(manifest.inputs):
            raise JsonFault(f"{where} has {len(given)} shapes, but the model has {len(manifest.inputs)} inputs")
        given = {tensor.name: shape for tensor, shape in zip(manifest.inputs, given, strict=True)}
    shapes = map_of(_config_shape)(given, f"{where}.inputs")
    found = {}
    for tensor in manifest.inputs:
        key = tensor.name if tensor.name in shapes else tensor.name.removesuffix(":0")
        if key not in shapes:
            raise JsonFault(f"{where}.inputs has no shape of {tensor.name}")
        found[tensor.name] = shapes.pop(key)
    if shapes:
        raise UsageError(
            f"{path}: {where} names {min(shapes)[:80]!r}, which is not an input of this model: "
            "`smalti inspect` lists them"
        )
    return _named(found) if name is None else ShapeGroup(name, found)


def _group_name(value: Any, where: str) -> str:
    name = text(value, where)
    if not 0 < len(name) <= MAX_NAME_OF_GROUP:
        raise JsonFault(f"{where} must have 1 to {MAX_NAME_OF_GROUP} characters")
    return name


def _config_shape(value: Any, where: str) -> Shape:
    if not isinstance(value, list) or not all(type(size) is int and 0 < size < 1 << 31 for size in value):
        raise JsonFault(f"{where} needs a list of sizes, such as [1, 513, 513, 3]")
    return tuple(value)


def _checked(groups: tuple[ShapeGroup, ...]) -> tuple[ShapeGroup, ...]:
    names = [group.name for group in groups]
    if not groups or len(groups) > MAX_GROUPS:
        raise UsageError(f"one run measures 1 to {MAX_GROUPS} shape groups, not {len(groups)}")
    if len(set(names)) != len(names):
        raise UsageError("two shape groups have one name")
    return groups


def _agreed(count: int, fixed: int | None) -> int:
    if fixed is not None and count != fixed:
        advice = "leave --batch away, or build the model again with --batch-size"
        raise UsageError(f"the batch size of this model is {fixed}, not {count}: {advice}")
    if count < 1:
        raise UsageError("the batch size must be at least 1")
    return count


def _named(shapes: Mapping[str, Shape]) -> ShapeGroup:
    return ShapeGroup(_name(shapes), shapes)


def _name(shapes: Mapping[str, Shape]) -> str:
    return " ".join("x".join(map(str, shape)) or "scalar" for shape in shapes.values())
