"""The ``smalti`` command: parses arguments, calls functions of smalti.apps, shows their results."""
