"""Run suites of long checks: ``python -m soak [NAME...] [--seed N] [--scale X] [--json PATH]``."""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import random
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def suites() -> list[str]:
    """Return the names of the modules that define ``main``, without importing them."""
    return [path.stem for path in sorted(HERE.glob("[a-z]*.py")) if _has_main(path)]


def _has_main(path: Path) -> bool:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body)


def run(name: str, seed: int, scale: float) -> dict[str, Any]:
    """Run one suite; a suite that ends in an exception is one failed check."""
    begin = time.monotonic()
    try:
        checks = dict(importlib.import_module(f"soak.{name}").main(seed, scale))
    except Exception as error:  # noqa: BLE001 - the other suites shall still run
        traceback.print_exc()
        checks = {"the suite itself": {"pass": False, "error": f"{type(error).__name__}: {error}"}}
    return {"seconds": round(time.monotonic() - begin, 1), "checks": checks}


def rows(name: str, result: dict[str, Any]) -> list[str]:
    """Return one line for each check."""
    lines = []
    for check, figures in result["checks"].items():
        state = "skipped" if figures.get("skipped") else "ok" if figures["pass"] else "FAILED"
        rest = ", ".join(f"{k} {v}" for k, v in figures.items() if k not in ("pass", "failures") and v not in ({}, []))
        lines.append(f"{name:10} {check:34} {state:8} {rest[:400]}")
        lines += [f"{'':10}   {failure}" for failure in figures.get("failures", ())]
    return lines


def main() -> int:
    """Run what the command line asks for; 1 when a check failed."""
    known = suites()
    parser = argparse.ArgumentParser(prog="soak", description="Long checks; every failure prints a line to repeat it.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"suites to run (default: all): {', '.join(known)}")
    parser.add_argument("--seed", type=int, help="seed of all mutations; default: a fresh one, printed")
    parser.add_argument("--scale", type=float, default=1.0, help="part of the full counts to run (default 1)")
    parser.add_argument("--json", type=Path, help="write all figures here")
    arguments = parser.parse_args()
    if unknown := sorted({*arguments.names} - {*known}):
        parser.error(f"there is no suite {', '.join(unknown)}; the suites are {', '.join(known)}")
    if arguments.scale <= 0:
        parser.error("--scale must be above 0")
    seed = random.SystemRandom().randrange(1 << 31) if arguments.seed is None else arguments.seed
    # A shell that starts this in the background lets SIGINT be ignored, by children too; some checks send it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    results: dict[str, Any] = {}
    for name in arguments.names or known:
        sys.stdout.write(f"soak {name} --seed {seed} --scale {arguments.scale:g}\n")
        sys.stdout.flush()
        results[name] = run(name, seed, arguments.scale)
        sys.stdout.write("\n".join(rows(name, results[name])) + f"\n{name}: {results[name]['seconds']} s\n")
        sys.stdout.flush()
        if arguments.json:
            arguments.json.parent.mkdir(parents=True, exist_ok=True)
            record = {"seed": seed, "scale": arguments.scale, "suites": results}
            arguments.json.write_text(json.dumps(record, indent=2, default=str) + "\n", encoding="utf-8")
    failed = [f"{n}: {c}" for n, r in results.items() for c, figures in r["checks"].items() if not figures["pass"]]
    sys.stdout.write(f"failed: {', '.join(failed)}\n" if failed else "all checks passed\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
