"""What to make of a graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from smalti.artifact.colours import is_colour
from smalti.artifact.format import MAX_PROGRAMS
from smalti.compiling.pictures import PictureOptions
from smalti.errors import UsageError
from smalti.frontend.budget import DEFAULT_LIMITS, GraphLimits
from smalti.frontend.given import plain_shapes, plain_values
from smalti.quant.modes import QuantMode, QuantOptions
from smalti.target.target import Target


@dataclass(frozen=True, slots=True)
class CompileOptions:
    """What to make of a graph.

    Attributes:
        targets: the CPUs to generate code for: a program in the file for each.
        quant: precision mode and its choices.
        shape_mutable: any height and width up to the graph's own limit in one file; otherwise one fixed size.
        input_size: height and width of a fixed shape, and the size images are scaled to; ``None`` takes the graph's own
            limit, or 513 where a fixed shape is asked for and the graph has none.
        batch_size: images in one call; ``None`` allows any number.
        inputs: tensor names that cut the graph at its beginning; ``None``: its own inputs.
        outputs: tensor names that cut the graph at its end; ``None``: its own outputs.
        input_shapes: the shape of an input by tensor name, ``{"x:0": (1, 720, 1280, 3)}``: any rank, ``()`` for a
            scalar; sizes from 1 to 2**31 - 1, or ``None`` where the graph's own size, which may be open, stays.
        binds: a value by tensor name, ``{"is_training:0": False}``: the tensor becomes a constant of its own dtype. A
            bool for a bool tensor, whole numbers in range for an integer one, finite numbers for a float one (rounded
            to it); an array, or (nested) lists, of the tensor's shape, or a flat list that fills it in C order. At most
            4096 elements. A tensor of unknown rank takes the shape of the value.
        name: name of the model in reports.
        labels: class names to store in the file.
        colours: ``#rrggbb`` (small digits) or ``None`` for each of the labels, to store with them.
        limits: how large the graph may be.
        pictures: what to put around a graph that holds only a network, so that it takes pictures and gives labels;
            ``None``: the graph as it is.
        drop_dropout: take out dropout that a TensorFlow export left active, with its scale: it gives what it is given.
    """

    targets: tuple[Target, ...]
    quant: QuantOptions = QuantOptions()
    shape_mutable: bool = True
    input_size: int | None = None
    batch_size: int | None = None
    inputs: tuple[str, ...] | None = None
    outputs: tuple[str, ...] | None = None
    input_shapes: Mapping[str, Iterable[int | None]] = field(default_factory=dict, hash=False)
    binds: Mapping[str, Any] = field(default_factory=dict, hash=False)
    name: str = "model"
    labels: tuple[str, ...] | None = None
    colours: tuple[str | None, ...] | None = None
    limits: GraphLimits = DEFAULT_LIMITS
    pictures: PictureOptions | None = None
    drop_dropout: bool = False

    def __post_init__(self) -> None:
        if not 1 <= len(self.targets) <= MAX_PROGRAMS:
            raise UsageError(f"a model file is for 1 to {MAX_PROGRAMS} targets, not {len(self.targets)}")
        if len(set(self.targets)) != len(self.targets):
            raise UsageError(f"a target is named twice: {', '.join(map(str, self.targets))}; name each once")
        if self.colours is not None:
            if len(self.colours) != len(self.labels or ()):
                raise UsageError(
                    f"there are {len(self.colours)} colours, but {len(self.labels or ())} labels: give one for each"
                )
            wrong = [colour for colour in self.colours if colour is not None and not is_colour(colour)]
            if wrong:
                raise UsageError(f"a colour is # and six small hexadecimal digits, such as #ff8000, not {wrong[0]!r}")
        # Plain copies: what a caller does to its arrays and dictionaries later changes nothing here.
        object.__setattr__(self, "input_shapes", plain_shapes(self.input_shapes))
        object.__setattr__(self, "binds", plain_values(self.binds))

    @property
    def target(self) -> Target:
        """The only target.

        Raises:
            UsageError: there are several.
        """
        if len(self.targets) > 1:
            raise UsageError(f"this needs one target, not {', '.join(map(str, self.targets))}")
        return self.targets[0]

    @property
    def quant_mode(self) -> QuantMode:
        """Precision mode."""
        return self.quant.mode
