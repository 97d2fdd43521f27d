"""The commands, each loaded when it is asked for: a command that compiles nothing does not pay for the compiler."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import Any, Final, NamedTuple

import typer
from typer.core import TyperGroup


class Place(NamedTuple):
    """Where a command is: a module with ``HELP``, and the name of a function in it."""

    module: str
    function: str


COMMANDS: Final[dict[str, Place]] = {
    "export": Place("smalti.cli.export", "export_command"),
    "build": Place("smalti.cli.build", "build_command"),
    "infer": Place("smalti.cli.infer", "infer_command"),
    "eval": Place("smalti.cli.evaluate", "eval_command"),
    "inspect": Place("smalti.cli.inspect", "inspect_command"),
    "bench": Place("smalti.cli.bench", "bench_command"),
    "compare": Place("smalti.cli.compare", "compare_command"),
    "sensitivity": Place("smalti.cli.sensitivity", "sensitivity_command"),
    "accuracy": Place("smalti.cli.accuracy", "accuracy_command"),
    "run": Place("smalti.cli.run", "run_command"),
    "export-c": Place("smalti.cli.export_c", "export_c_command"),
    "config": Place("smalti.cli.config", "config_command"),
    "knobs": Place("smalti.cli.knobs", "knobs_command"),
}


class CommandGroup(TyperGroup):
    """The group of :data:`COMMANDS`, in the order of a user's work."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Loading(self.commands)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands, without loading any."""
        return list(self.commands)


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
