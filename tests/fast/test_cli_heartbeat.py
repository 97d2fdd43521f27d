"""Lines of progress where no terminal draws a bar; time is a number that the tests move on."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from smalti.cli import build, heartbeat, infer, ui
from smalti.cli.heartbeat import EVERY, Count, Told, beat, duration_text
from smalti.fetch.progress import Stage
from smalti.labelling.job import JobState


@dataclass
class FakeTime:
    """A clock, and a wait that moves it on and does some work meanwhile."""

    now: float = 0.0
    work: list[Callable[[], object]] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        if not self.work:
            return True
        self.now += seconds
        self.work.pop(0)()
        return False


def lines_of(line: Callable[[], str | None], time: FakeTime) -> list[str]:
    told: list[str] = []
    beat(line, told.append, time.wait)
    return told


def test_a_count_says_how_much_how_fast_and_when_it_is_over() -> None:
    time = FakeTime()
    count = Count("infer", "pictures", clock=time.clock)
    time.work = [lambda: count.move(0, 1449), lambda: count.move(320, 1449), lambda: count.move(1449, 1449)]
    assert lines_of(count.line, time) == [
        "infer: 0 of 1,449 pictures",
        "infer: 320 of 1,449 pictures, 16 a second, 71 s left",
        "infer: 1,449 of 1,449 pictures, 48 a second",
    ]
    assert time.now == 3 * EVERY == 30


def test_earlier_work_is_no_speed_and_a_new_count_begins_anew() -> None:
    time = FakeTime()
    count = Count("measure", "pictures", clock=time.clock)
    time.work = [
        lambda: count.move(1000, 1020, first=1000),
        lambda: count.move(1010, 1020, first=1000),
        lambda: count.move(2, 40),
        lambda: count.move(4, 40),
    ]
    assert lines_of(count.line, time) == [
        "measure: 1,000 of 1,020 pictures",
        "measure: 1,010 of 1,020 pictures, 2.0 s each, 20 s left",
        "measure: 2 of 40 pictures",
        "measure: 4 of 40 pictures, 2.5 s each, 90 s left",
    ]


def test_bytes_are_megabytes_and_may_have_no_end() -> None:
    time = FakeTime()
    count = Count("downloading a.tar", "MB", 1e6, clock=time.clock)
    time.work = [lambda: None, lambda: count.move(12_000_000, None), lambda: count.move(30_000_000, 90_000_000)]
    assert lines_of(count.line, time) == [
        "downloading a.tar: begun 10 s ago",
        "downloading a.tar: 12.0 MB, 0.6 MB a second",
        "downloading a.tar: 30.0 of 90.0 MB, 1.0 MB a second, 60 s left",
    ]


def test_words_are_said_until_something_else_speaks() -> None:
    time = FakeTime()
    told = Told(clock=time.clock)
    time.work = [lambda: None, lambda: told("generating code"), lambda: None, told.pause, lambda: told("writing")]
    assert lines_of(told.line, time) == [
        "generating code, for 0.0 s",
        "generating code, for 10 s",
        "writing, for 0.0 s",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (12.4, "12 s"),
        (99, "99 s"),
        (100, "2 min"),
        (5999, "1 h 40 min"),
        (7500, "2 h 5 min"),
    ],
)
def test_times_in_words(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def beats(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], str | None]]:
    """Collect the lines that displays would say every ten seconds, and run no thread."""
    found: list[Callable[[], str | None]] = []

    class Held:
        def __init__(self, line: Callable[[], str | None], tell: object) -> None:
            found.append(line)
            assert tell is ui.note

        def __enter__(self) -> None: ...

        def __exit__(self, *error: object) -> None: ...

    monkeypatch.delenv("FORCE_COLOR", raising=False)
    for module in (ui, build):
        monkeypatch.setattr(module, "heartbeat", Held)
    return found


def test_every_display_has_lines_without_a_terminal(
    beats: list[Callable[[], str | None]], capsys: pytest.CaptureFixture[str]
) -> None:
    with ui.progress_bar("calibrate") as move:
        assert beats[-1]() is None
        move(3, 12)
        assert str(beats[-1]()).startswith("calibrate: 3 of 12 pictures, ")
    with build.build_status() as told:
        assert beats[-1]() is None
        told("generating code for x86-64-v3")
        assert str(beats[-1]()).startswith("generating code for x86-64-v3, for ")
    with ui.fetch_bar() as fetched:
        assert beats[-1]() is None
        fetched(Stage.DOWNLOAD, "a[b]\n.tar", 5_000_000, 10_000_000)
        said = str(beats[-1]())
        assert said.startswith("downloading a[b]") and "5.0 of 10.0 MB" in said and "\n" not in said
    with infer.job_bar() as watch:
        assert beats[-1]() is None
        watch(JobState(total=1449, resumed=100, done=420, failed=2))
        said = str(beats[-1]())
        assert said.startswith("infer: 422 of 1,449 pictures, ") and said.endswith(" left, 2 failed")
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err == "100 of 1449 pictures were finished by an earlier run\n"


def test_the_later_of_words_and_counts_speaks(beats: list[Callable[[], str | None]]) -> None:
    with build.build_status() as told, ui.progress_bar("compare", told=told) as move:
        words, count = beats
        told("generating code")
        assert words() is not None and count() is None
        move(1, 4)
        assert words() is None and str(count()).startswith("compare: 1 of 4 pictures")
        told("generating code again")
        assert str(words()).startswith("generating code again") and count() is None


def test_a_terminal_has_bars_and_no_lines(
    beats: list[Callable[[], str | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Terminal()
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr("sys.stderr", screen)
    with ui.progress_bar("calibrate") as move:
        move(3, 12)
    with build.build_status() as told:
        told("generating code for x86-64-v3")
    with ui.fetch_bar() as fetched:
        fetched(Stage.UNPACK, "a.tar", 1, 2)
    assert beats == [] and "calibrate" in screen.getvalue()


def test_the_thread_ends_with_the_work() -> None:
    # Only its own: threads of other tests that ended with their work may still be counted for a moment.
    before = set(threading.enumerate())

    def own() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread not in before]

    with heartbeat.heartbeat(lambda: None, print):
        assert own() == ["smalti-heartbeat"]
    assert own() == []
    with pytest.raises(KeyboardInterrupt), heartbeat.heartbeat(lambda: None, print):
        assert own() == ["smalti-heartbeat"]
        raise KeyboardInterrupt
    assert own() == []
