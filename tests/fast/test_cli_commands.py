"""The command line: exit codes, one message for an error, JSON alone on standard output."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from smalti import errors
from smalti.cli import evaluate, infer
from smalti.cli.commands import COMMANDS
from smalti.cli.exit_codes import ExitCode, exit_code
from smalti.cli.main import run
from smalti.errors import InputError, SmaltiError, UnsupportedGraphError, UnsupportedNode
from smalti.vision.headers import ImageFormat
from smalti.vision.images import encode_mask, encode_picture, read_mask


@dataclass
class FakeManifest:
    preprocess: dict[str, Any] = field(default_factory=lambda: {"input_size": 16, "resize": "fit"})
    labels: tuple[str, ...] | None = ("dark", "bright")
    target: str = "x86-64"


class FakeEngine:
    """Labels bright pixels 1; stands in for a loaded model."""

    threads = concurrency = 1
    threads_reason = "1: a test"
    target = "x86-64-v2"
    digest = "0" * 64

    def file_sha256(self) -> str:
        return "1" * 64

    def __init__(self) -> None:
        self.manifest = FakeManifest()

    def __call__(self, image: NDArray[np.uint8], /, *, threads: int | None = None) -> NDArray[np.int32]:
        if max(image.shape) > 16:
            raise InputError("an image side is over 16")
        return (image[..., 0] > 127).astype(np.int32)

    def __enter__(self) -> FakeEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with three pictures in in/, their masks in gt/, and a stand-in for loading models."""
    (tmp_path / "in").mkdir()
    (tmp_path / "gt").mkdir()
    for name, value in (("a", 0), ("b", 200), ("c", 255)):
        picture = np.zeros((8, 12, 3), dtype=np.uint8)
        picture[:, 6:] = value
        (tmp_path / "in" / f"{name}.png").write_bytes(encode_picture(picture, ImageFormat.PNG))
        (tmp_path / "gt" / f"{name}.png").write_bytes(encode_mask((picture[..., 0] > 127).astype(np.uint8)))
    monkeypatch.chdir(tmp_path)
    for module in (infer, evaluate):
        monkeypatch.setattr(module, "load", lambda path, threads, sha256, concurrency: FakeEngine())
    return tmp_path


def infer_args(*more: str) -> list[str]:
    return ["infer", "--model", "m.smalti", "--image-dir", "in", "--output-dir", "out", *more]


def test_infer_then_eval(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(infer_args("--overlay")) == ExitCode.OK
    shown = capsys.readouterr()
    assert "3 images in" in shown.out and "threads: 1: a test" in shown.err
    saved = [path.name for path in (place / "out").iterdir() if not path.name.startswith("smalti-")]
    assert sorted(saved) == ["a.png", "b.png", "c.png", "overlay"]
    assert read_mask(place / "out" / "b.png")[0].tolist() == [0] * 6 + [1] * 6
    (place / "names.txt").write_text("dark\nbright\n")
    args = ["eval", "--pred-dir", "out", "--gt-dir", "gt", "--labels", "names.txt"]
    assert run([*args, "--confusion"]) == ExitCode.OK
    shown = capsys.readouterr()
    assert "mIoU 100.00 % over 2 classes" in shown.out and "mistaken for" in shown.out
    assert run([*args, "--json", "--image-num", "2"]) == ExitCode.OK
    result = json.loads(capsys.readouterr().out)
    assert result["miou"] == 1.0 and result["images"] == 2 and result["labels"] == ["dark", "bright"]


def test_streaming_eval(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "list.txt").write_text("a\nc\n")
    args = ["eval", "--model", "m", "--image-dir", "in", "--gt-dir", "gt", "--file-list", "list.txt"]
    assert run([*args, "--json"]) == ExitCode.OK
    result = json.loads(capsys.readouterr().out)
    assert result["images"] == 2 and result["threads"] == 1 and result["preprocess"]["input_size"] == 16
    assert run(args) == ExitCode.OK
    assert "mIoU" in capsys.readouterr().out


def test_a_file_several_paths_and_sub_folders(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["infer", "--model", "m.smalti", "--json", "--output-dir"]
    assert run([*args, "one", "--image-dir", "in/b.png"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["images"] == 1 and (place / "one" / "b.png").is_file()
    for folder in ("in", "gt"):
        (place / folder / "sub").mkdir()
        (place / folder / "a.png").rename(place / folder / "sub" / "a.png")
    (place / "in" / "d.gif").write_bytes(b"GIF89a")
    assert run([*args, "two", "--image-dir", "in/sub", "--images", "in/c.png"]) == ExitCode.OK
    assert (place / "two" / "sub" / "a.png").is_file() and (place / "two" / "c.png").is_file()
    capsys.readouterr()
    assert run([*args, "in/labels", "--image-dir", "in", "--recursive"]) == ExitCode.OK
    shown = capsys.readouterr()
    assert json.loads(shown.out)["pictures_left_out"] == {"GIF": 1}
    assert "left out: 1 GIF; what is read is JPEG, PNG, WebP, BMP or TIFF: convert it to PNG or JPEG" in shown.err
    assert json.loads((place / "in/labels/smalti-report.json").read_text())["pictures_left_out"] == {"GIF": 1}
    assert run([*args, "in/labels", "--image-dir", "in", "--recursive"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["resumed"] == 3, "results of a job are no pictures"
    streamed = ["eval", "--model", "m", "--image-dir", "in", "--gt-dir", "gt", "--recursive", "--json"]
    assert run(streamed) == ExitCode.OK
    record = json.loads(capsys.readouterr().out)
    assert (record["images"], record["miou"], record["pictures_left_out"]) == (3, 1.0, {"GIF": 1})


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (("--image-dir", "in/x.gif"), ExitCode.BAD_DATA, "but GIF: convert it to PNG or JPEG"),
        (("--image-dir", "in/nowhere.jpg"), ExitCode.USAGE, "there is no picture in/nowhere.jpg: give one that exists"),
        (("--image-dir", "in", "--image-dir", "nowhere"), ExitCode.USAGE, "there is no folder nowhere"),
        (("--image-dir", "in", "--recursive", "--file-list", "list.txt"), ExitCode.USAGE, "leave one of the two out"),
        (("--image-dir", "in", "--image-dir", "gt", "--file-list", "list.txt"), ExitCode.USAGE, "that folder alone"),
        (
            ("--image-dir", "gt", "--image-dir", "in", "--output-dir", "."),
            ExitCode.USAGE,
            "choose another --output-dir",
        ),
    ],
)
def test_paths_that_cannot_be_used(
    place: Path, capsys: pytest.CaptureFixture[str], args: tuple[str, ...], code: ExitCode, says: str
) -> None:
    (place / "in" / "x.gif").write_bytes(b"GIF89a and more")
    (place / "list.txt").write_text("a\n")
    assert run(["infer", "--model", "m.smalti", "--output-dir", "out", *args]) == code
    assert says in capsys.readouterr().err


def test_skipped_pictures_have_their_own_exit_code(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "in" / "bad.jpg").write_bytes(b"no picture")
    assert run(infer_args()) == ExitCode.DONE_WITH_ERRORS
    assert "not a JPEG, PNG, WebP" in capsys.readouterr().out
    assert run(infer_args("--json")) == ExitCode.DONE_WITH_ERRORS
    assert json.loads(capsys.readouterr().out)["failures"][0]["name"] == "bad.jpg"
    assert run(infer_args("--on-error", "stop")) == ExitCode.BAD_DATA
    shown = capsys.readouterr()
    assert "smalti: bad.jpg: not a JPEG, PNG, WebP, BMP or TIFF picture" in shown.err.splitlines()
    (place / "in" / "bad.jpg").unlink()
    assert run(infer_args("--resize", "stretch", "--input-size", "17")) == ExitCode.USAGE
    assert "--restart" in capsys.readouterr().err
    assert run(infer_args("--resize", "stretch", "--input-size", "17", "--restart")) == ExitCode.DONE_WITH_ERRORS
    assert "an image side is over 16" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["infer", "--model", "m", "--image-dir", "nowhere", "--output-dir", "out"], ExitCode.USAGE),
        (["infer", "--model", "m", "--image-dir", "in"], ExitCode.USAGE),
        (["infer", "--model", "m", "--image-dir", "in", "--output-dir", "in"], ExitCode.USAGE),
        (["infer", "--image-dir", "in"], ExitCode.USAGE),
        (infer_args("--save-img", "maybe"), ExitCode.USAGE),
        (infer_args("--image-num", "0"), ExitCode.USAGE),
        (infer_args("--resize", "crop"), ExitCode.USAGE),
        (infer_args("--max-pixels", "99999999999"), ExitCode.USAGE),
        (infer_args("--save-img", "FALSE"), ExitCode.OK),
        (["eval", "--gt-dir", "gt"], ExitCode.USAGE),
        (["eval", "--gt-dir", "gt", "--pred-dir", "in", "--model", "m"], ExitCode.USAGE),
        (["eval", "--gt-dir", "gt", "--model", "m"], ExitCode.USAGE),
        (["eval", "--gt-dir", "gt", "--pred-dir", "gt", "--image-dir", "in"], ExitCode.USAGE),
        (["eval", "--gt-dir", "gt", "--pred-dir", "in"], ExitCode.BAD_DATA),
        (["eval", "--gt-dir", "gt", "--pred-dir", "gt"], ExitCode.OK),
        (["frobnicate"], ExitCode.USAGE),
        ([], ExitCode.OK),
        (["--version"], ExitCode.OK),
        (["knobs"], ExitCode.OK),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_exit_codes(
    arguments: list[str],
    code: ExitCode,
    place: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert run(arguments) == code
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["eval"], "Missing option '--gt-dir'"),
        (["eval", "--gt-dir", "gt", "--bogus"], "No such option: --bogus"),
        (infer_args("--image-num", "many"), "Invalid value for '--image-num'"),
        (["frobnicate"], "No such command 'frobnicate'"),
        (["knobs", "more"], "unexpected extra argument"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_options_are_also_json(
    arguments: list[str], text: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*arguments, "--json"]) == ExitCode.USAGE
    error = json.loads(capsys.readouterr().out)["error"]
    assert text in error["message"] and (error["type"], error["exit_code"]) == ("UsageError", ExitCode.USAGE)
    assert run(arguments) == ExitCode.USAGE
    assert capsys.readouterr().out == ""


def test_a_missing_model_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["infer", "--model", str(tmp_path / "m"), "--image-dir", str(tmp_path)]
    assert run(arguments) == ExitCode.MODEL_FILE
    shown = capsys.readouterr()
    assert shown.out == "" and len(shown.err.splitlines()) == 1 and shown.err.startswith("smalti: ")
    assert run([*arguments, "--json"]) == ExitCode.MODEL_FILE
    assert json.loads(capsys.readouterr().out)["error"]["exit_code"] == ExitCode.MODEL_FILE


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (errors.FetchError("no network"), ExitCode.FETCH, "no network"),
        (errors.OutputError("disk full"), ExitCode.FETCH, "disk full"),
        (errors.ResourceError("no threads"), ExitCode.RESOURCE, "no threads"),
        (errors.TargetError("needs avx512f"), ExitCode.MODEL_FILE, "needs avx512f"),
        (errors.CompilerError("a pass broke"), ExitCode.BUG, "a pass broke"),
        (MemoryError(), ExitCode.RESOURCE, "out of memory"),
        (OSError(28, "No space left on device", "x.png"), ExitCode.FETCH, "No space left on device: x.png"),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED, "interrupted"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_errors_become_one_message(
    error: BaseException,
    code: ExitCode,
    text: str,
    place: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_args: object, **_more: object) -> None:
        raise error

    monkeypatch.setattr(infer, "load", refuse)
    assert run(infer_args()) == code
    step = "close other programs, or ask for less at a time: smaller pictures, fewer --threads"
    if not isinstance(error, MemoryError):
        step = error.next_step if isinstance(error, SmaltiError) else ""
    after = f"\n  {step}" if step else ""
    assert capsys.readouterr().err.endswith(f"smalti: {text}{after}\n")


def test_a_bug_keeps_its_traceback(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: object, **_more: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(infer, "load", broken)
    with pytest.raises(ZeroDivisionError):
        run(infer_args())


def test_unsupported_nodes_are_also_json(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_more: object) -> None:
        raise UnsupportedGraphError(
            (UnsupportedNode("Foo", 2, "a/b", "unknown"), UnsupportedNode("Bar", 1, "c", "odd"))
        )

    monkeypatch.setattr(infer, "load", refuse)
    assert run(infer_args("--json")) == ExitCode.BAD_DATA
    problems = json.loads(capsys.readouterr().out)["error"]["problems"]
    assert [problem["op"] for problem in problems] == ["Foo", "Bar"] and problems[0]["count"] == 2


def test_every_error_class_has_an_exit_code() -> None:
    def all_below(kind: type[SmaltiError]) -> list[type[SmaltiError]]:
        return [kind, *(below for child in kind.__subclasses__() for below in all_below(child))]

    for kind in all_below(SmaltiError):
        error = kind(()) if kind is UnsupportedGraphError else kind("x")
        bug = kind in (SmaltiError, errors.CompilerError)
        assert (exit_code(error) is ExitCode.BUG) == bug, kind


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_teaches_with_examples_that_parse(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*command.split(), "--help"]) == ExitCode.OK
    text = capsys.readouterr().out
    if not command:
        assert all(name in text for name in COMMANDS)
        assert all(f"{code.value} " in text for code in ExitCode)
        return
    assert "Examples:" in text and re.search(rf"smalti\s+{command}", text)
    examples = re.sub(r"\$\(.*?\)", "", text.split("Options")[0].split("Examples:")[1], flags=re.DOTALL)
    options = set(re.findall(r"--[a-z0-9-]+", examples))
    assert options <= set(re.findall(r"--[a-z0-9-]+", text.split("Options", 1)[1]))


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["no-such-command"], ["knobs", "--json", "--no"]])
def test_python_m_smalti_is_the_command(words: list[str]) -> None:
    command = [sys.executable, "-c", "import smalti.cli.main as m; m.main()"]
    module = [sys.executable, "-m", "smalti"]
    expected, done = (
        subprocess.run([*start, *words], capture_output=True, text=True, check=False, timeout=60)
        for start in (command, module)
    )
    assert (done.returncode, done.stdout, done.stderr) == (expected.returncode, expected.stdout, expected.stderr)
    assert "smalti" in done.stdout + done.stderr and "__main__" not in done.stdout + done.stderr
    assert "python -m" not in done.stdout + done.stderr


def test_knobs_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["knobs", "--json"]) == ExitCode.OK
    assert {"name", "value", "default", "doc"} <= set(json.loads(capsys.readouterr().out)["knobs"][0])


def test_sigterm_ends_a_command_with_its_exit_code(place: Path) -> None:
    code = (
        "import time, smalti.cli.infer as i, smalti.cli.main as m\n"
        "def load(*a, **k):\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(30)\n"
        "i.load = load\n"
        "m.main()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, *infer_args()], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        start = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, shown = process.communicate(timeout=60)
    assert process.returncode == ExitCode.INTERRUPTED and time.monotonic() - start < 25  # before `load` has slept
    assert shown.splitlines()[-1] == "smalti: interrupted" and "Traceback" not in shown


def test_infer_says_one_picture_and_the_stream(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(infer_args()) == ExitCode.OK
    lines = capsys.readouterr().out.splitlines()
    one, stream = (next(line for line in lines if line.startswith(word)) for word in ("one picture: ", "stream: "))
    assert "engine alone, 1 thread" in one and "3 images in" in stream and "with reading and saving -> out" in stream
    assert run(infer_args("--restart", "--json")) == ExitCode.OK
    said = json.loads(capsys.readouterr().out)
    assert said["one_picture_ms"] > 0 and 1 <= said["one_picture_calls"] <= 5 and said["stream_images_per_second"] > 0
    assert set(said["other_load"]) == {"others_percent", "steal_percent", "noisy"}
    assert run(infer_args("--json")) == ExitCode.OK  # nothing is left to do
    assert json.loads(capsys.readouterr().out)["one_picture_ms"] is None
