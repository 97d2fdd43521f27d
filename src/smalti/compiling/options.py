"""What to make of a graph."""

from __future__ import annotations

from dataclasses import dataclass

from smalti.artifact.format import MAX_PROGRAMS
from smalti.errors import UsageError
from smalti.frontend.budget import DEFAULT_LIMITS, GraphLimits
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
        inputs: TensorFlow tensor names that cut the graph at its beginning; ``None``: its own inputs.
        outputs: TensorFlow tensor names that cut the graph at its end; ``None``: its own outputs.
        name: name of the model in reports.
        labels: class names to store in the file.
        limits: how large the graph may be.
    """

    targets: tuple[Target, ...]
    quant: QuantOptions = QuantOptions()
    shape_mutable: bool = True
    input_size: int | None = None
    batch_size: int | None = None
    inputs: tuple[str, ...] | None = None
    outputs: tuple[str, ...] | None = None
    name: str = "model"
    labels: tuple[str, ...] | None = None
    limits: GraphLimits = DEFAULT_LIMITS

    def __post_init__(self) -> None:
        if not 1 <= len(self.targets) <= MAX_PROGRAMS:
            raise UsageError(f"a model file is for 1 to {MAX_PROGRAMS} targets, not {len(self.targets)}")
        if len(set(self.targets)) != len(self.targets):
            raise UsageError(f"a target is named twice: {', '.join(map(str, self.targets))}")

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
