"""``python -m smalti``: the command line, as the ``smalti`` program starts it."""

from __future__ import annotations

from smalti.cli.main import main

if __name__ == "__main__":
    main()
