"""``smalti doctor``: what this machine is, and what would be slow here."""

from __future__ import annotations

from smalti.cli.ui import JsonOption, draw, help_text, print_json, say
from smalti.delivery.doctor import doctor, doctor_table

HELP = help_text(
    "Tell what this machine and this installation are, and what would be slow or missing here.",
    "The CPU and the target that --target native builds for, which arithmetic it has, the threads of one inference and "
    "why, memory, versions, packages that only some options need; then notes, each with what to do. Nothing is built.",
    examples=("smalti doctor", "smalti doctor --json"),
)


def doctor_command(as_json: JsonOption = False) -> None:
    found = doctor()
    if as_json:
        print_json(found.to_json())
        return
    draw(doctor_table(found))
    for note in found.notes or ("nothing to note",):
        say(f"- {note}")
