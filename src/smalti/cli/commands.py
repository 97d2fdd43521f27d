"""The commands, each loaded when it is asked for: a command that compiles nothing does not pay for the compiler."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import Any, Final, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup


class Place(NamedTuple):
    """Where a command is: a module with ``HELP``, the name of a function in it, and the first sentence of its help."""

    module: str
    function: str
    summary: str


COMMANDS: Final[dict[str, Place]] = {
    "export": Place(
        "smalti.cli.export",
        "export_command",
        "Fetch a trained model, a data set or both, from their publishers or from a mirror of yours.",
    ),
    "build": Place(
        "smalti.cli.build",
        "build_command",
        "Compile an ONNX model or a frozen TensorFlow graph into an offline model file.",
    ),
    "infer": Place(
        "smalti.cli.infer",
        "infer_command",
        "Label every picture of a folder with an offline model.",
    ),
    "eval": Place(
        "smalti.cli.evaluate",
        "eval_command",
        "Measure label maps against masks: IoU of each class, mean IoU, pixel accuracy.",
    ),
    "inspect": Place(
        "smalti.cli.inspect",
        "inspect_command",
        "Tell what an offline model file is: inputs, target, sizes, steps, work and memory.",
    ),
    "bench": Place(
        "smalti.cli.bench",
        "bench_command",
        "Measure an offline model: latency, throughput, start, memory, and where the time goes.",
    ),
    "compare": Place(
        "smalti.cli.compare",
        "compare_command",
        "Compare every layer of an offline model with a reference, or two graphs, and count the pixels that flip.",
    ),
    "sensitivity": Place(
        "smalti.cli.sensitivity",
        "sensitivity_command",
        "Measure what each layer costs: a build for every layer in which it alone is quantised.",
    ),
    "accuracy": Place(
        "smalti.cli.accuracy",
        "accuracy_command",
        "Build a model in several precisions, measure each against the masks, and print the accuracy table.",
    ),
    "run": Place(
        "smalti.cli.run",
        "run_command",
        "Fetch a known model and its data, build it in several precisions, and print mIoU and milliseconds.",
    ),
    "export-c": Place(
        "smalti.cli.export_c",
        "export_c_command",
        "Turn an offline model file into an object file and a header, for C and C++ programs that read no file at run "
        "time.",
    ),
    "config": Place(
        "smalti.cli.config",
        "config_command",
        "Tell a C or C++ build where the library is that runs offline model files without Python.",
    ),
    "doctor": Place(
        "smalti.cli.doctor",
        "doctor_command",
        "Tell what this machine and this installation are, and what would be slow or missing here.",
    ),
    "knobs": Place(
        "smalti.cli.knobs",
        "knobs_command",
        "List the environment variables that Smalti reads, with their present values.",
    ),
}


class CommandGroup(TyperGroup):
    """The group of :data:`COMMANDS`, in the order of a user's work."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Loading(self.commands)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands, without loading any."""
        return list(self.commands)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the page that lists the commands, without loading any."""
        loading = self.commands
        self.commands = {name: TyperCommand(name, help=place.summary) for name, place in COMMANDS.items()}
        try:
            super().format_help(ctx, formatter)
        finally:
            self.commands = loading


class _Loading(MutableMapping[str, Any]):
    """Commands by name; looking one up imports it."""

    def __init__(self, known: MutableMapping[str, Any]) -> None:
        self._known = dict(known)

    def __getitem__(self, name: str) -> Any:
        if name not in self._known:
            self._known[name] = _load(name, COMMANDS[name])
        return self._known[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._known[name] = command

    def __delitem__(self, name: str) -> None:
        del self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter([*COMMANDS, *(name for name in self._known if name not in COMMANDS)])

    def __len__(self) -> int:
        return len(list(iter(self)))


def _load(name: str, place: Place) -> Any:
    module = import_module(place.module)
    single = typer.Typer(
        add_completion=False,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    single.command(name, help=module.HELP)(getattr(module, place.function))
    return typer.main.get_command(single)
