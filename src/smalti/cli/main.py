"""The ``smalti`` command line."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from types import FrameType
from typing import Annotated, Any, Final

import typer

from smalti import __version__
from smalti.cli.commands import CommandGroup
from smalti.cli.exit_codes import ExitCode, exit_code
from smalti.cli.ui import help_text, note, output_is_whole, print_json, say
from smalti.errors import SmaltiError, UnsupportedGraphError, UsageError

HELP = help_text(
    "Compile segmentation networks (ONNX, TensorFlow) for this computer's CPU, and label pictures with them.",
    "A frozen graph, fetched (export) or your own, becomes one offline model file (build), which labels pictures "
    "(infer) and is measured (eval); run does all of it. "
    "`smalti COMMAND --help` explains each command with examples.",
)

EPILOG = "Exit codes: " + "; ".join(f"{code.value} {code.meaning}" for code in ExitCode) + "."

_NO_THREAD: Final = "can't start new thread"
"""What Python's threads raise, as a RuntimeError, when the system has none left."""
_LESS_MEMORY: Final = "close other programs, or ask for less at a time: smaller pictures, fewer --threads"
_FEWER_THREADS: Final = "give fewer with --threads, or raise the limit of threads (`ulimit -u`)"

app = typer.Typer(
    name="smalti",
    cls=CommandGroup,
    help=HELP,
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        say(f"smalti {__version__}")
        raise typer.Exit


@app.callback()
def _global_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options before the command."""


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; errors of Smalti become one message on standard error."""
    as_json = "--json" in arguments
    try:
        typer.main.get_command(app).main(args=list(arguments) or ["--help"], prog_name="smalti", obj=tuple(arguments))
    except SystemExit as end:
        return _ended(end, as_json)
    except SmaltiError as error:
        return _fail(exit_code(error), error, str(error), as_json, "" if "--" in str(error) else error.next_step)
    except KeyboardInterrupt:
        note("smalti: interrupted")
        return ExitCode.INTERRUPTED
    except MemoryError as error:
        return _fail(ExitCode.RESOURCE, error, "out of memory", as_json, _LESS_MEMORY)
    except RuntimeError as error:
        if _NO_THREAD not in str(error):
            raise
        return _fail(ExitCode.RESOURCE, error, "the system refuses another thread", as_json, _FEWER_THREADS)
    except OSError as error:
        return _fail(ExitCode.FETCH, error, _what_the_system_said(error), as_json)
    return ExitCode.OK


def main() -> None:
    """Entry point of the console script."""
    _open_standard_streams()
    signal.signal(signal.SIGTERM, _interrupt)
    os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")  # Its threads would take the CPUs from ours.
    code = run(sys.argv[1:])
    sys.exit(code if output_is_whole() else code or ExitCode.FETCH)


def _open_standard_streams() -> None:
    """Put the null device where standard input, output or error is closed.

    Otherwise the next file that is opened, which may be a label map, takes the place of standard output.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # Gets the lowest free number, which is this one.
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # For names in other encodings than the terminal's.


def _ended(end: SystemExit, as_json: bool) -> int:
    """Return the exit code of a command that was ended: by itself, by typer for its options, or by its reader."""
    if isinstance(end.__context__, BrokenPipeError):
        return ExitCode.BROKEN_PIPE
    code = end.code if isinstance(end.code, int) else int(end.code is not None)
    if code == ExitCode.INTERRUPTED:
        note("smalti: interrupted")
    wrong_option = getattr(end.__context__, "format_message", None)  # Of click or of typer's own copy of it.
    if code == ExitCode.USAGE and wrong_option is not None and as_json:
        print_json({"error": _error_record(ExitCode.USAGE, UsageError.__name__, wrong_option())})
    return int(code)


def _what_the_system_said(error: OSError) -> str:
    said = error.strerror or type(error).__name__
    if error.filename:
        return f"{said}: {error.filename}"
    try:
        os.getcwd()
    except FileNotFoundError:
        return f"{said}: the folder in which the command was started is gone"
    return said


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _fail(code: ExitCode, error: BaseException, text: str, as_json: bool, next_step: str = "") -> int:
    note(f"smalti: {text}")
    if next_step:
        note(f"  {next_step}")
    if as_json:
        record = _error_record(code, type(error).__name__, text)
        if isinstance(error, UnsupportedGraphError):
            record["problems"] = [
                {"op": p.op, "count": p.count, "first_node": p.first_node, "reason": p.reason} for p in error.problems
            ]
        print_json({"error": record})
    return int(code)


def _error_record(code: ExitCode, kind: str, text: str) -> dict[str, Any]:
    return {"type": kind, "message": text, "exit_code": int(code)}
