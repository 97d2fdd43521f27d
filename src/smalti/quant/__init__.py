"""Precision modes: which number types a network computes in, and the calibration that int8 needs.

What runs a network to calibrate it (``calibrate_model``, ``calibrate_folder``) stands above this room, in
``smalti.building.calibrate``, and is also found in ``smalti.apps``.
"""

from __future__ import annotations

from smalti.quant.modes import ActivationScheme, CalibAlgo, Granularity, QuantMode, QuantOptions
from smalti.quant.record import CalibrationRecord, TensorStats

__all__ = [
    "ActivationScheme",
    "CalibAlgo",
    "CalibrationRecord",
    "Granularity",
    "QuantMode",
    "QuantOptions",
    "TensorStats",
]
