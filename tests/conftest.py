"""What a terminal says of itself is the same for every test: 80 columns, and no colours asked for."""

from __future__ import annotations

import os

os.environ["COLUMNS"] = "80"
os.environ.pop("FORCE_COLOR", None)
