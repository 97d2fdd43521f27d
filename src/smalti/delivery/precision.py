"""What an offline model file says about its precision: number types of layers, steps of quantised tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from smalti.artifact.manifest import Manifest
from smalti.jobs.table import Fit, Table


def precision_rows(manifest: Manifest) -> list[tuple[str, str]]:
    """Return rows for the table of facts.

    What the file says is free-form: whatever is not there, or not of the expected form, is left out.
    """
    said = manifest.quantisation
    layers = [layer for layer in _list(said.get("layers")) if isinstance(layer, list) and len(layer) == 4]
    types = Counter(f"{layer[2]} x {layer[1]}" for layer in layers)
    rows = [("precision", manifest.precision)]
    rows += [
        ("", f"{count} convolution{'s' if count != 1 else ''} in {name} (weights x activations)")
        for name, count in types.most_common()
    ]
    kept = [str(name) for name in _list(said.get("keep"))]
    if kept:
        rows.append(("", f"kept in {said.get('float_type')}: {', '.join(kept)}"))
    if "weight_granularity" in said:
        about = f"weights {said.get('weight_granularity')}, activations {said.get('activation')}"
        rows.append(("", f"{about}, ranges by {said.get('calib_algo')}, {len(_tensors(said))} quantised tensors"))
    calibration = said.get("calibration")
    if isinstance(calibration, Mapping):
        rows += [("calibrated" if not i else "", line) for i, line in enumerate(_calibration_lines(calibration))]
    return rows


def _calibration_lines(calibration: Mapping[str, Any]) -> list[str]:
    about = f"on {calibration.get('images', '?')} images, record {str(calibration.get('record_sha256'))[:16]}"
    return [about, *(f"warning: {text}" for text in _list(calibration.get("warnings")))]


def ranges_table(manifest: Manifest) -> Table:
    """Return one row for each quantised tensor."""
    rows = []
    for name, said in _tensors(manifest.quantisation).items():
        low, high = (*_list(said.get("range")), None, None)[:2]
        steps = str(said.get("dtype")), _number(said.get("scale")), str(said.get("zero_point"))
        rows.append((*steps, _number(low), _number(high), name))
    columns = ("type", "scale", "zero point", "lowest", "highest", "tensor")
    return Table("ranges", columns, tuple(rows), left=(0, 5), fit=Fit(names=(5,), leave=(4, 3)))


def _tensors(said: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    tensors = said.get("tensors")
    if not isinstance(tensors, Mapping):
        return {}
    return {str(name): value for name, value in tensors.items() if isinstance(value, Mapping)}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, (int, float)) else "-"
