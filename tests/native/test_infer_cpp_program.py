"""The C++ example run as users run it, with address and undefined-behaviour checks, against ``smalti infer``."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from deeplab_kit import train_names, voc_bytes
from infer_cpp_kit import build, once, run, shared_folder, smalti_command
from picture_cases import mutants, picture_cases, shared_words
from small_segmenter import SIDE, network
from smalti.building.build import build as build_model
from smalti.compiler import CompileOptions
from smalti.demo.dataset import GRAPH_PATH, graph_bytes, write_voc_layout
from smalti.demo.generator import CLASS_NAMES, demo_image
from smalti.errors import ImageError
from smalti.frontend.tensorflow.importer import import_graph
from smalti.labelling.infer import InferResult, infer
from smalti.runtime.engine import load
from smalti.scoring.evaluate import evaluate_folder
from smalti.target.host import resolve_targets
from smalti.vision.images import DEFAULT_MAX_PIXELS, decode_image, encode_picture, read_image, read_mask
from smalti.vision.overlay import blend
from smalti.vision.palette import class_palette
from tolerance import Tol, assert_close

# With a build type that has no flags of its own, the flags are these alone.
CHECKED = (
    "-DCMAKE_BUILD_TYPE=None",
    "-DCMAKE_CXX_FLAGS=-O0 -fsanitize=address,undefined -fno-sanitize-recover=undefined",
)
SECONDS = 60
MUTANTS = 400


@dataclass(frozen=True, slots=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.out)
        return value


class Program:
    def __init__(self, path: Path, model: Path) -> None:
        self.path = path
        self.model = model

    def command(self, *arguments: object) -> list[str]:
        return [str(self.path), "--model", str(self.model), *(str(argument) for argument in arguments)]

    def __call__(self, *arguments: object) -> Done:
        return self.raw(*self.command(*arguments)[1:])

    def raw(self, *arguments: str) -> Done:
        """Run with these arguments alone."""
        done = subprocess.run(
            [str(self.path), *arguments], capture_output=True, text=True, timeout=SECONDS, check=False
        )
        assert "Sanitizer" not in done.stderr and "runtime error" not in done.stderr, done.stderr
        return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """The example, and the embedded network for this CPU and for the oldest of its kind in one file."""
    shared = shared_folder(tmp_path_factory)
    command = smalti_command(tmp_path_factory.mktemp("command"))
    package = run([str(command), "config", "--cmake-dir"]).stdout.strip()
    folder = build(shared, "infer_cpp_checked", ("infer_cpp",), f"-Dsmalti_DIR={package}", *CHECKED)

    def make_model(place: Path) -> None:
        build_model(GRAPH_PATH, place / "m.smalti", CompileOptions(resolve_targets("native,generic")))

    model = once(shared, "infer_cpp_model", make_model)
    return Program(folder / "infer_cpp", model / "m.smalti")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Pictures of many sizes, two of one name, one turned by EXIF, one cut, one that is none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for index, side in enumerate((193, 240, 97)):
        picture = Image.fromarray(demo_image(index)[0]).resize((side, side - 20))
        picture.save(folder / f"wide{index}.jpg", quality=92)
    picture.save(folder / "wide0.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(folder / "turned.JPEG", exif=exif)
    (folder / "cut.jpg").write_bytes((folder / "wide1.jpg").read_bytes()[:900])
    (folder / "text.png").write_text("no picture", encoding="ascii")
    (folder / "notes.txt").write_text("not looked at", encoding="ascii")
    return folder


def in_python(
    program: Program, image_dir: Path, output_dir: Path, *, target: str | None = None, **options: Any
) -> InferResult:
    with load(program.model, target=target) as engine:
        return infer(engine, image_dir, output_dir, **options)


def assert_same_masks(got: Path, want: Path, count: int) -> None:
    names = sorted(path.name for path in want.glob("*.png"))
    assert len(names) == count
    assert sorted(path.name for path in got.glob("*.png")) == names
    for name in names:
        assert_close(read_mask(got / name), read_mask(want / name), Tol.EXACT, name)


def test_label_maps_and_refusals_are_those_of_python(program: Program, photos: Path, tmp_path: Path) -> None:
    got, want = tmp_path / "got", tmp_path / "want"
    done = program("--image_dir", photos, "--output_dir", got, "--json")
    assert done.code == 3, done.err
    result = in_python(program, photos, want)
    assert_same_masks(got, want, 5)
    assert {path.name for path in got.iterdir()} == {
        "wide0.jpg.png", "wide0.png.png", "wide1.png", "wide2.png", "turned.png"
    }  # fmt: skip
    said, expected = done.json, result.to_json()
    for failure in (*said["failures"], *expected["failures"]):
        failure["reason"] = shared_words(failure["reason"])
    for key in ("images", "failed", "failures", "threads", "preprocess"):
        assert said[key] == expected[key], key
    assert [stage["stage"] for stage in said["stages"]] == ["decode", "resize", "infer", "post", "save"]
    for stage in said["stages"]:
        assert stage["count"] == 5 and 0 <= stage["median_ms"] <= stage["p95_ms"] <= stage["total_ms"]
    assert said["output_dir"] == str(got) and said["precision"] == "force_float32"
    with load(program.model) as engine:
        assert said["target"] == said["targets"][0] == engine.manifest.target


def test_cases_and_mutants_end_as_they_must_under_the_checks(program: Program, tmp_path: Path) -> None:
    """Every kind of picture, sound or not, through a reader that is watched for each byte that it touches."""
    folder = tmp_path / "cases"
    folder.mkdir()
    cases = [case for case in picture_cases() if case.max_pixels == DEFAULT_MAX_PIXELS]
    for number, case in enumerate(cases):
        (folder / f"case{number:04}.jpg").write_bytes(case.data)
    refused = {f"case{number:04}.jpg": case.words for number, case in enumerate(cases) if case.pixels is None}
    for number, (_, data) in enumerate(mutants(MUTANTS)):
        (folder / f"mutant{number:04}.png").write_bytes(data)
        try:
            decode_image(data)
        except ImageError as error:
            refused[f"mutant{number:04}.png"] = shared_words(str(error))
    done = program("--image_dir", folder, "--save_img", "false", "--json")
    assert done.code == 3, done.err
    said = {failure["name"]: failure["reason"] for failure in done.json["failures"]}
    assert set(said) == set(refused)
    assert all(said[name].startswith(words) for name, words in refused.items())
    assert done.json["images"] == len(cases) + MUTANTS - len(refused) > 250


def test_a_program_of_the_file_is_chosen(program: Program, photos: Path, tmp_path: Path) -> None:
    oldest = resolve_targets("generic")[0].name
    got, want = tmp_path / "got", tmp_path / "want"
    done = program("--image_dir", photos, "--output_dir", got, "--target", oldest, "--json")
    assert (done.code, done.json["target"], done.json["targets"][-1]) == (3, oldest, oldest)
    in_python(program, photos, want, target=oldest)
    assert_same_masks(got, want, 5)


def test_sides_that_differ_are_met_exactly(program: Program, photos: Path, tmp_path: Path) -> None:
    shapes = {import_graph(graph_bytes()).graph.inputs[0].name: (1, 97, 161, 3)}
    options = CompileOptions(resolve_targets("native"), input_shapes=shapes)
    wide = Program(program.path, build_model(GRAPH_PATH, tmp_path / "wide.smalti", options).path)
    got, want = tmp_path / "got", tmp_path / "want"
    done = wide("--image_dir", photos, "--output_dir", got, "--json")
    assert done.code == 3, done.err
    result = in_python(wide, photos, want)
    assert_same_masks(got, want, 5)
    assert done.json["preprocess"] == result.to_json()["preprocess"] == {"resize": "stretch", "input_size": [97, 161]}


def test_the_one_size_of_a_graph_that_takes_no_other_is_met(program: Program, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "graph.pb").write_bytes(network())
    options = CompileOptions(resolve_targets("native"))
    small = Program(program.path, build_model(tmp_path / "graph.pb", tmp_path / "small.smalti", options).path)
    got, want = tmp_path / "got", tmp_path / "want"
    done = small("--image_dir", photos, "--output_dir", got, "--json")
    assert done.code == 3, done.err
    result = in_python(small, photos, want)
    assert_same_masks(got, want, 5)
    assert (
        done.json["preprocess"] == result.to_json()["preprocess"] == {"resize": "stretch", "input_size": [SIDE, SIDE]}
    )


def test_tables_for_people(program: Program, photos: Path, tmp_path: Path) -> None:
    done = program("--image-dir", photos, f"--output-dir={tmp_path / 'got'}", "--threads=1")
    assert done.code == 3
    for text in (
        "time of each stage, 1 thread, program ",
        "mean ms",
        "median ms",
        "p95 ms",
        "decode",
        "save",
        "2 skipped",
        "text.png: not a JPEG",
    ):
        assert text in done.out, text
    assert ", force_float32, program x86-64" in done.err or ", force_float32, program aarch64" in done.err


def test_overlays_show_the_classes(program: Program, photos: Path, tmp_path: Path) -> None:
    for name in ("cut.jpg", "text.png"):
        (photos / name).unlink()
    assert program("--image_dir", photos, "--output_dir", tmp_path / "got", "--overlay").code == 0
    assert len(list((tmp_path / "got" / "overlay").glob("*.jpg"))) == 5
    drawn = read_image(tmp_path / "got" / "overlay" / "turned.jpg")
    want = blend(read_image(photos / "turned.JPEG"), read_mask(tmp_path / "got" / "turned.png"))
    assert_close(drawn, decode_image(encode_picture(want)), Tol.EXACT, "overlay")
    assert program("--image_dir", photos, "--output_dir", tmp_path / "only", "--overlay", "--save_img=false").code == 0
    assert [path.name for path in (tmp_path / "only").iterdir()] == ["overlay"]


def test_colours_of_the_model_file_are_in_label_maps_and_overlays(
    program: Program, photos: Path, tmp_path: Path
) -> None:
    for name in ("cut.jpg", "text.png"):
        (photos / name).unlink()
    names, colours = CLASS_NAMES, (None, "#102030", "#ff8000", *[None] * (len(CLASS_NAMES) - 3))
    for name, given in (("own", colours), ("none", None)):
        options = CompileOptions(resolve_targets("native"), labels=names, colours=given)
        painted = Program(program.path, build_model(GRAPH_PATH, tmp_path / f"{name}.smalti", options).path)
        got, want = tmp_path / f"{name}-got", tmp_path / f"{name}-want"
        assert painted("--image_dir", photos, "--output_dir", got, "--overlay").code == 0
        in_python(painted, photos, want)
        assert_same_masks(got, want, 5)
        for path in want.glob("*.png"):
            with Image.open(path) as mine, Image.open(got / path.name) as theirs:
                assert mine.getpalette() == theirs.getpalette() == class_palette(given).ravel().tolist()
        drawn = read_image(got / "overlay" / "turned.jpg")
        labels = read_mask(got / "turned.png")
        assert {1, 2} & set(labels.ravel().tolist())
        mixed = blend(read_image(photos / "turned.JPEG"), labels, palette=class_palette(given))
        assert_close(drawn, decode_image(encode_picture(mixed)), Tol.EXACT, "overlay")


def test_lists_are_read_as_python_reads_them(program: Program, tmp_path: Path) -> None:
    root = tmp_path / "voc"
    write_voc_layout(root, 4)
    shutil.copy(root / "JPEGImages" / "demo_0001.png", root / "JPEGImages" / "with space.png")
    listed = tmp_path / "list.txt"
    lines = [
        "\ufeffdemo_0003 1", "", "demo_0000.png", "with space", "JPEGImages/demo_0001", "missing -1", "../outside",
        f"{root}/JPEGImages/demo_0002.png", "demo_0003.jpg 7 8",
    ]  # fmt: skip
    listed.write_text("\r\n".join(lines[:-1]), encoding="utf-8")
    done = program("--image_dir", root, "--file_list", listed, "--output_dir", tmp_path / "got", "--json")
    result = in_python(program, root, tmp_path / "want", file_list=listed)
    assert done.code == 3 and done.json["failures"] == result.to_json()["failures"] and len(result.failures) == 2
    assert_same_masks(tmp_path / "got", tmp_path / "want", 5)
    first = program("--image_dir", root, "--file_list", listed, "--output_dir", tmp_path / "two", "--image_num", "2")
    assert first.code == 0
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == ["demo_0000.png", "demo_0003.png"]
    listed.write_text("\n".join(lines), encoding="utf-8")
    twice = program("--image_dir", root, "--file_list", listed, "--output_dir", tmp_path / "got")
    assert twice.code == 2 and "the list names demo_0003.png twice" in twice.err


def test_its_masks_are_evaluated(program: Program, tmp_path: Path) -> None:
    val_list = write_voc_layout(tmp_path / "voc", 3)
    done = program("--image_dir", tmp_path / "voc", "--file_list", val_list, "--output_dir", tmp_path / "got")
    assert done.code == 0, done.err
    in_python(program, tmp_path / "voc", tmp_path / "want", file_list=val_list)
    got, want = (evaluate_folder(tmp_path / name, tmp_path / "voc", val_list) for name in ("got", "want"))
    assert got.accuracy.miou == want.accuracy.miou > 0.05
    assert_close(got.accuracy.confusion, want.accuracy.confusion, Tol.EXACT, "confusion")


def test_real_pictures(program: Program, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name in train_names()[:4]:
        (tmp_path / "photos" / f"{name}.jpg").write_bytes(voc_bytes(f"JPEGImages/{name}.jpg"))
    assert program("--image_dir", tmp_path / "photos", "--output_dir", tmp_path / "got").code == 0
    in_python(program, tmp_path / "photos", tmp_path / "want")
    assert_same_masks(tmp_path / "got", tmp_path / "want", 4)


def test_wrong_options(program: Program, photos: Path, tmp_path: Path) -> None:
    folders = ["--image_dir", str(photos), "--output_dir", str(tmp_path / "got")]
    model = ["--model", str(program.model)]
    cases = [
        (folders, "--model is missing"),
        (model, "--image_dir is missing"),
        ([*model, *folders[:2]], "an output folder is needed"),
        ([*model, *folders, "--colour", "red"], "there is no option --colour"),
        ([*model, *folders, "photos"], "what is 'photos'?"),
        ([*model, *folders, "--threads", "0"], "--threads must be a whole number from 1"),
        ([*model, *folders, "--threads", "4x"], "--threads must be a whole number from 1"),
        ([*model, *folders, "--max_pixels", "999999999"], "--max_pixels must be a whole number from 1 to 89128960"),
        ([*model, *folders, "--image_num", "-1"], "--image_num must be a whole number from 1"),
        ([*model, *folders, "--save_img", "perhaps"], "--save_img must be true or false"),
        ([*model, *folders, "--image_num"], "--image_num needs a value"),
        ([*model, *folders, "--model="], "--model must not be empty"),
        ([*model, *folders, "--shape_mutable", "false"], "this model takes pictures of many sizes"),
        ([*model, *folders, "--file_list", str(tmp_path / "none.txt")], "there is no file list"),
        ([*model, "--image_dir", str(tmp_path / "none"), *folders[2:]], "there is no folder"),
        ([*model, *folders[:2], "--output_dir", str(program.model)], "is not a folder"),
    ]
    for arguments, text in cases:
        done = program.raw(*arguments)
        assert (done.code, done.out) == (2, ""), f"{arguments}: {done}"
        assert text in done.err, f"{arguments}: {done.err}"
    assert not (tmp_path / "got").exists()
    for words in (["--help"], [*model, "-h"]):
        shown = program.raw(*words)
        assert shown.code == 0 and "--shape_mutable BOOL" in shown.out and shown.err == ""


def test_options_may_be_written_in_both_ways(program: Program, photos: Path) -> None:
    done = program(
        f"--image-dir={photos}", "--save-img", "FALSE", "--image_num=1", "--shape-mutable", "true", "--json",
        "--max-pixels", "1000",
    )  # fmt: skip
    assert done.code == 3 and done.json["output_dir"] is None
    assert done.json["failures"][0]["name"] == "cut.jpg" and "limit of 1000" in done.json["failures"][0]["reason"]


def test_model_files_that_cannot_be_used(program: Program, photos: Path, tmp_path: Path) -> None:
    data = program.model.read_bytes()
    cases = {"cut": data[: len(data) // 2], "changed": data[:5000] + b"?" + data[5001:], "other": b"not a model"}
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
    for name in (*cases, "missing"):
        done = program.raw("--model", str(tmp_path / name), "--image_dir", str(photos), "--save_img", "false")
        assert (done.code, done.out) == (5, ""), f"{name}: {done}"
        assert done.err.startswith("infer_cpp: "), done.err
    done = program("--image_dir", photos, "--save_img", "false", "--target", "z80")
    assert done.code in (2, 5) and "z80" in done.err


def test_output_folders(program: Program, photos: Path, tmp_path: Path) -> None:
    own = program("--image_dir", photos, "--output_dir", photos)
    assert own.code == 2 and "is one of the pictures to label" in own.err
    got = tmp_path / "got"
    got.mkdir()
    (got / ".1-0.smalti-tmp").write_bytes(b"left over")
    handle = os.open(got, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    busy = program("--image_dir", photos, "--output_dir", got)
    assert busy.code == 7 and "another job is writing to" in busy.err and len(list(got.iterdir())) == 1
    os.close(handle)
    assert program("--image_dir", photos, "--output_dir", got).code == 3
    assert not list(got.glob(".*"))


def test_a_signal_ends_it_with_its_own_code(program: Program, photos: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("wide1\n" * 20_000, encoding="ascii")
    command = program.command("--image_dir", photos, "--file_list", listed, "--save_img", "false", "--json")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        process.stderr.readline()
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 130 and "interrupted" in err
    assert json.loads(out)["images"] < 20_000


def test_an_undecodable_name_is_shown_escaped(program: Program, photos: Path, tmp_path: Path) -> None:
    shutil.copy(photos / "wide1.jpg", os.fsencode(photos) + b"/\xff\n.jpg")
    (photos / 'quote"\\.png').write_bytes(b"")
    done = program("--image_dir", photos, "--output_dir", tmp_path / "got", "--json")
    names = [failure["name"] for failure in done.json["failures"]]
    assert 'quote"\\.png' in names
    assert os.path.exists(os.fsencode(tmp_path / "got") + b"/\xff\n.png")
    result = in_python(program, photos, tmp_path / "want")
    assert names == [failure.name for failure in result.failures]
