"""A program: one network compiled for one target.  The programs of a model file share their constants."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from smalti.artifact.manifest import Manifest
from smalti.errors import TargetError, UsageError
from smalti.target.host import Host, missing_features, read_host
from smalti.target.target import Target


@dataclass(frozen=True, slots=True)
class Program:
    """A manifest and its code."""

    manifest: Manifest
    code: bytes = field(repr=False)


def check_target(manifest: Manifest, host: Host | None = None) -> None:
    """Check that a CPU (default: this one) has every feature the code needs.

    Raises:
        TargetError: it has not; the message names what is missing and how to build a model that fits.
    """
    host = host or read_host()
    try:
        target = Target.parse(manifest.target)
    except UsageError as error:
        raise TargetError(
            f"the model was built for {manifest.target!r}, which this Smalti does not know: update Smalti, or "
            "build it again with this one"
        ) from error
    if target.arch != host.arch:
        raise TargetError(
            f"the model was built for {target.arch} CPUs ({target}), this machine is {host.arch}: "
            "build it again here with --target native"
        )
    missing = _missing(target, manifest, host)
    if missing:
        raise TargetError(
            f"the model was built for {target}, but this CPU ({host.model}) lacks {', '.join(missing)}: "
            "build it again with --target native on this machine, or --target generic for any machine"
        )


def obstacle(manifest: Manifest, host: Host) -> str | None:
    """Return in a few words why a machine cannot run a program (``lacks avx2, fma``), or None where it can."""
    try:
        target = Target.parse(manifest.target)
    except UsageError:
        return "is not known to this Smalti"
    if target.arch != host.arch:
        return f"is for {target.arch} CPUs"
    missing = _missing(target, manifest, host)
    return f"lacks {', '.join(missing)}" if missing else None


def choose_program(programs: Iterable[Program], host: Host | None = None) -> Program:
    """Return the first program that a CPU (default: this one) can run.

    ``programs`` are taken one by one, so those behind the one that fits need not even be read.

    Raises:
        TargetError: none fits; the message says for each what is missing.
    """
    host = host or read_host()
    refused: list[tuple[Manifest, str]] = []
    for program in programs:
        why = obstacle(program.manifest, host)
        if why is None:
            return program
        refused.append((program.manifest, why))
    if len(refused) == 1:
        check_target(refused[0][0], host)
    listed = "; ".join(f"{manifest.target} {why}" for manifest, why in refused)
    raise TargetError(
        f"none of the {len(refused)} programs in the model runs on this CPU ({host.model}, {host.arch}): {listed}. "
        "Build it again with --target native on this machine, or with generic among its targets for any machine"
    )


def _missing(target: Target, manifest: Manifest, host: Host) -> tuple[str, ...]:
    return missing_features({*target.features, *manifest.features}, host)
