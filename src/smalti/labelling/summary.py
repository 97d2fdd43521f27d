"""What a labelling job did, in one line."""

from __future__ import annotations

from smalti.labelling.infer import InferResult


def infer_summary(result: InferResult) -> str:
    """Return one line: how many pictures, how fast, where to."""
    rate = result.images / result.seconds if result.seconds > 0 else 0.0
    where = f" -> {result.output_dir}" if result.output_dir is not None else ""
    skipped = f", {result.failed} skipped" if result.failed else ""
    return f"{result.images} images in {result.seconds:.2f} s ({rate:.1f} a second){skipped}{where}"
