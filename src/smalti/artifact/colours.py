"""The colours of classes in an offline model file: they stand in the free-form part of its manifest, if anywhere."""

from __future__ import annotations

import re
from typing import Final

from smalti.artifact.manifest import Manifest
from smalti.errors import DamagedModelError

COLOURS_KEY: Final = "colours"
"""In the object ``graph``: a list of ``#rrggbb`` or null, one for each of the labels."""
_COLOUR: Final = re.compile(r"#[0-9a-f]{6}")


def is_colour(text: object) -> bool:
    """Whether ``text`` is a colour as a model file holds it: ``#`` and six small hexadecimal digits."""
    return isinstance(text, str) and _COLOUR.fullmatch(text) is not None


def colours_of(manifest: Manifest) -> tuple[str | None, ...] | None:
    """Return the colour of each class, ``None`` for one without; ``None`` where the file has no colours.

    Raises:
        DamagedModelError: what stands there is something else.
    """
    found = manifest.graph.get(COLOURS_KEY)
    if found is None:
        return None
    if (
        not isinstance(found, list)
        or len(found) != len(manifest.labels or ())
        or not all(colour is None or is_colour(colour) for colour in found)
    ):
        raise DamagedModelError(
            "the file is damaged: its manifest needs #rrggbb or null for each label (graph.colours)"
        )
    return tuple(found)
