"""The models and data sets that Smalti knows by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from smalti.errors import UsageError
from smalti.vision.palette import VOC_LABELS

_MIB: Final = 2**20
_MODEL_SERVER: Final = "http://download.tensorflow.org/models/"
_VOC_SERVER: Final = "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/"

DEMO_LABELS: Final = ("background", "disk", "square", "triangle", "ring", "star", "cross", "striped", "checkered")


@dataclass(frozen=True, slots=True)
class Limits:
    """What an archive may hold: packed and unpacked bytes, members, and unpacked bytes per packed byte."""

    archive_bytes: int
    unpacked_bytes: int
    members: int
    ratio: int = 64


@dataclass(frozen=True, slots=True)
class Archive:
    """A published archive.

    Attributes:
        name: file name, the same at the publisher and in a mirror.
        address: where the publisher keeps it.
        folder: the folder in the archive that is unpacked; what lies beside it is checked and left out.
        required: files that must be in ``folder``, relative to it.
        limits: sizes beyond which the archive is refused.
        sha256: the publisher's digest in hex. None where the publisher states none and we could not compute it from
            the publisher's own copy; the digest seen first is then recorded, or the caller states one.
    """

    name: str
    address: str
    folder: str
    required: tuple[str, ...]
    limits: Limits
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Embedded:
    """A file inside this package."""

    package: str
    resource: str


@dataclass(frozen=True, slots=True)
class Generated:
    """A data set that this package draws into ``folder``."""

    folder: str


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A frozen segmentation graph.

    Attributes:
        name: what ``--model`` calls it.
        source: where it comes from.
        graph: path of the GraphDef below the exported folder.
        inputs, outputs: tensor names.
        labels: class names; the index is the label.
        dataset: name of the data set it is evaluated on.
    """

    name: str
    source: Archive | Embedded
    graph: str
    labels: tuple[str, ...]
    dataset: str
    inputs: tuple[str, ...] = ("ImageTensor:0",)
    outputs: tuple[str, ...] = ("SemanticPredictions:0",)


@dataclass(frozen=True, slots=True)
class DatasetEntry:
    """Pictures with masks in the PASCAL VOC layout.

    Attributes:
        name: what ``--dataset`` calls it.
        source: where it comes from.
        val_list, train_list: paths below the exported root.
        labels: class names; the index is the label.
    """

    name: str
    source: Archive | Generated
    labels: tuple[str, ...]
    val_list: str = "ImageSets/Segmentation/val.txt"
    train_list: str = "ImageSets/Segmentation/train.txt"


def _deeplab(name: str, date: str) -> ModelEntry:
    file = f"{name}_{date}.tar.gz"
    graph = "frozen_inference_graph.pb"
    limits = Limits(archive_bytes=512 * _MIB, unpacked_bytes=2048 * _MIB, members=1000)
    source = Archive(file, _MODEL_SERVER + file, folder=name, required=(graph,), limits=limits)
    return ModelEntry(name, source, graph, VOC_LABELS, dataset="voc2012")


DEMO: Final = "demo"

MODELS: Final = (
    _deeplab("deeplabv3_mnv2_pascal_train_aug", "2018_01_29"),
    _deeplab("deeplabv3_mnv2_dm05_pascal_trainval", "2018_10_01"),
    ModelEntry(
        DEMO,
        Embedded("smalti.demo", "frozen_inference_graph.pb"),
        "frozen_inference_graph.pb",
        DEMO_LABELS,
        dataset=DEMO,
    ),
)

DATASETS: Final = (
    DatasetEntry(
        "voc2012",
        Archive(
            "VOCtrainval_11-May-2012.tar",
            _VOC_SERVER + "VOCtrainval_11-May-2012.tar",
            folder="VOCdevkit/VOC2012",
            required=("ImageSets/Segmentation/val.txt", "ImageSets/Segmentation/train.txt"),
            limits=Limits(archive_bytes=4096 * _MIB, unpacked_bytes=8192 * _MIB, members=200_000),
        ),
        VOC_LABELS,
    ),
    DatasetEntry(DEMO, Generated("demo_voc"), DEMO_LABELS),
)


def find_model(name: str) -> ModelEntry:
    """Return the model called ``name``. Raises UsageError, which lists the known names."""
    for entry in MODELS:
        if entry.name == name:
            return entry
    raise UsageError(f"there is no model {name!r}; known are {', '.join(e.name for e in MODELS)}")


def find_dataset(name: str) -> DatasetEntry:
    """Return the data set called ``name``. Raises UsageError, which lists the known names."""
    for entry in DATASETS:
        if entry.name == name:
            return entry
    raise UsageError(f"there is no data set {name!r}; known are {', '.join(e.name for e in DATASETS)}")
