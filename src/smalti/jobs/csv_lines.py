"""Lines of CSV, written the same way by every report."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable


def csv_line(cells: Iterable[object]) -> str:
    """Return the cells as one line of CSV that ends with a newline; None is an empty cell.

    A cell with a comma, a quote, a line feed or a carriage return is quoted, so that a table reads back as written.
    """
    line = io.StringIO()
    # The module quotes a carriage return in a cell only where lines end with one, in older Pythons.
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue().removesuffix("\r\n") + "\n"
