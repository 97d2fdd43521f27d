"""Precision modes: which number types a network computes in, and the calibration that int8 needs.

``smalti.quant.calibrate_model`` and its neighbours run a network, so they live in ``smalti.apps.calibrate``, above this
package; here are their names for those who look for them here.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

_PLACES: Final = {
    "ActivationScheme": "smalti.quant.modes",
    "CalibAlgo": "smalti.quant.modes",
    "CalibrationRecord": "smalti.quant.record",
    "Granularity": "smalti.quant.modes",
    "QuantMode": "smalti.quant.modes",
    "QuantOptions": "smalti.quant.modes",
    "TensorStats": "smalti.quant.record",
    "calibrate_folder": "smalti.apps.calibrate",
    "calibrate_model": "smalti.apps.calibrate",
    "load_record": "smalti.apps.calibrate",
    "read_record": "smalti.apps.calibrate",
    "write_record": "smalti.apps.calibrate",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is first asked for: only calibrating needs the compiler."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
