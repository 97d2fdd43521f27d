"""The page of the Python API, written from docstrings and signatures."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import is_dataclass
from enum import Enum
from importlib import import_module
from types import ModuleType
from typing import Any

import smalti
import smalti.apps
from smalti import errors
from smalti.cli.exit_codes import exit_code

HEAD = """# The Python API

Generated from the docstrings; a test compares this page with the code, and `scripts/docs` writes it again.

`smalti` is what programs use: it needs numpy, and pictures need Pillow and OpenCV. `smalti.apps` has the work of every
command as a function, `smalti.annotations` makes files of label maps. Arrays of pictures are RGB, uint8 [H, W, 3].
What is not on this page may change without notice.

```python no-run
import smalti

with smalti.Segmenter("model.smalti") as segmenter:
    found = segmenter("photo.jpg")  # a smalti.LabelMap
    found.save("labels.png")
```
"""
ANNOTATIONS = ("picture", "coco", "geojson", "labelme", "shares")
SECTIONS = ("Args:", "Attributes:", "Raises:", "Returns:")
_ROLE = re.compile(r":\w+:`~?([^`]+)`")


def api_markdown() -> str:
    """Return the page."""
    classes = [smalti.Segmenter, smalti.LabelMap, smalti.Engine, smalti.TensorSpec, smalti.Profile, smalti.StepProfile]
    parts = [HEAD, "## smalti\n", _function("smalti.load", smalti.load), *(_class("smalti", c) for c in classes)]
    parts += [_function("smalti.from_torch", smalti.from_torch)]
    parts += [f"### smalti.\\_\\_version\\_\\_\n\nThe version as text: `{smalti.__version__}`.\n", _errors()]
    parts += ["## smalti.apps\n", text_of(smalti.apps)]
    parts += [_entry("smalti.apps", getattr(smalti.apps, name)) for name in smalti.apps.__all__]
    room = import_module("smalti.annotations")
    parts += ["## smalti.annotations\n", text_of(room)]
    for name in ANNOTATIONS:
        module = import_module(f"smalti.annotations.{name}")
        parts += [_entry(module.__name__, value) for value in public(module)]
    return "\n".join(parts)


def public(module: ModuleType) -> Iterator[Any]:
    """Yield the classes and functions that a module defines under a public name, in its order."""
    for name, value in vars(module).items():
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__ and callable(value):
            yield value


def text_of(thing: Any) -> str:
    """Return the docstring of a thing as Markdown; its sections become lists."""
    lines = (inspect.getdoc(thing) or "").replace("``", "`").splitlines()
    found: list[str] = []
    for line in lines:
        line = re.sub(r"(?<=[.;:]) {2,}", " ", _ROLE.sub(r"`\1`", line))
        if line in SECTIONS:
            found += [f"{line[:-1]}:", ""]
        elif line.startswith("        "):
            found.append(f"  {line.strip()}".rstrip())
        elif line.startswith("    ") and ":" in line:
            names, _, about = line.strip().partition(": ")
            found.append(f"- `{names}`: {about}")
        else:
            found.append(line)
    return "\n".join(line.rstrip() for line in found).rstrip() + "\n"


def _entry(place: str, thing: Any) -> str:
    return _class(place, thing) if isinstance(thing, type) else _function(f"{place}.{thing.__name__}", thing)


def _function(name: str, function: Any, level: str = "###") -> str:
    return f"{level} {name}\n\n```text\n{name.rpartition('.')[2]}{_signature(function)}\n```\n\n{text_of(function)}"


def _class(place: str, kind: type) -> str:
    parts = [f"### {place}.{kind.__name__}\n"]
    if issubclass(kind, Enum):
        return "\n".join([*parts, text_of(kind), f"Values: {', '.join(f'`{m.value}`' for m in kind)}.\n"])
    parts += [f"```text\n{kind.__name__}{_signature(kind)}\n```\n", text_of(kind)]
    properties = []
    for name, value in vars(kind).items():
        if name.startswith("_") and name != "__call__":
            continue
        if isinstance(value, property):
            properties.append(f"- `{name}`: {' '.join(text_of(value).split())}".rstrip())
        elif inspect.isfunction(value) and value.__doc__:
            shown = kind.__name__.lower() if name == "__call__" else f"{kind.__name__}.{name}"
            parts.append(_function(shown, value, "####"))
    if properties:
        parts.insert(3, "Properties:\n\n" + "\n".join(properties) + "\n")
    return "\n".join(parts)


def _signature(thing: Any) -> str:
    signature = inspect.signature(thing)
    shown = [_plain(p) for name, p in signature.parameters.items() if name != "self"]
    words = str(signature.replace(parameters=shown)).replace("'", "")
    if len(words) < 90:
        return words
    inner, _, after = words[1:].rpartition(")")
    return "(\n" + "".join(f"    {part},\n" for part in _split(inner)) + f"){after}"


class _Shown:
    """A default value as the page shows it, the same in every version of Python."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _plain(parameter: inspect.Parameter) -> inspect.Parameter:
    value = parameter.default
    if isinstance(value, Enum):
        return parameter.replace(default=_Shown(f"{type(value).__name__}.{value.name}"))
    if is_dataclass(value) and not isinstance(value, type):
        return parameter.replace(default=_Shown(f"{type(value).__name__}()"))
    if inspect.isfunction(value):
        return parameter.replace(default=_Shown(value.__name__))
    return parameter.replace(default=_Shown("...")) if "factory" in repr(value) else parameter


def _split(text: str) -> list[str]:
    """Return what stands between the commas that are in no brackets."""
    parts, depth, start = [], 0, 0
    for at, letter in enumerate(text):
        depth += (letter in "([{<") - (letter in ")]}") - (letter == ">" and text[at - 1] != "-")
        if letter == "," and depth == 0:
            parts.append(text[start:at].strip())
            start = at + 1
    return [*parts, text[start:].strip()]


def _errors() -> str:
    rows = []
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.SmaltiError):
            about = text_of(kind).splitlines()[0]
            code = "" if kind is errors.SmaltiError else str(_code(kind))
            rows.append(f"| `smalti.{name}` | `{kind.__mro__[1].__name__}` | {code} | {about} | {kind.next_step} |\n")
    head = "| error | is a | exit code | what it says | what to do next |\n|---|---|---|---|---|\n"
    before = (
        "## Errors\n\nThe exit code is that of the `smalti` command. Where the last cell is empty, the message says "
    )
    return f"{before}it.\n\n{head}{''.join(rows)}"


def _code(kind: type[errors.SmaltiError]) -> int:
    return int(exit_code(kind.__new__(kind)))
