"""Long checks, run by ``scripts/soak`` before a release: every module here with a ``main`` is one suite."""
