"""The Segmenter: the same labels from files, bytes, arrays and PIL images, alone and in batches, as from infer."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import smalti
from graph_builder import GraphBuilder
from jobs_kit import bomb, fill, make_model, picture_bytes
from small_segmenter import CLASSES, SIDE, network
from smalti.building.build import build
from smalti.compiler import CompileOptions
from smalti.errors import ImageError, InputError, UsageError
from smalti.labelling.infer import InferOptions, infer
from smalti.runtime.engine import load
from smalti.segmenter.segmenter import Segmenter
from smalti.segmenter.sources import Source
from smalti.target.host import resolve_targets
from smalti.vision.headers import ImageFormat
from smalti.vision.images import decode_image, read_mask
from smalti.vision.palette import voc_palette
from smalti.vision.preprocess import Resize, resize_labels, resize_picture

NAMES = ("ground", "square", "disk", "ring")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("segmenter")


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    return make_model(folder)


@pytest.fixture(scope="module")
def open_model(folder: Path) -> Path:
    """The same network for every size."""
    return _built(folder, "open", None)


def _built(folder: Path, name: str, outputs: tuple[str, ...] | None, side: int | None = None) -> Path:
    graph = folder / f"{name}.pb"
    graph.write_bytes(network(side))
    options = CompileOptions(resolve_targets("native"), outputs=outputs)
    return build(graph, folder / f"{name}.smalti", options).path


@pytest.fixture
def segmenter(model: Path) -> Iterator[Segmenter]:
    with smalti.Segmenter(model, labels=NAMES) as opened:
        yield opened


def _want(model: Path, picture: NDArray[np.uint8]) -> NDArray[np.integer]:
    """The labels by the engine alone."""
    with load(model) as engine:
        labels = engine(resize_picture(picture, SIDE, SIDE))
    return resize_labels(labels, *picture.shape[:2])


def test_every_kind_of_source_gives_the_same_labels(segmenter: Segmenter, model: Path, tmp_path: Path) -> None:
    data = picture_bytes(1, ImageFormat.PNG)
    (tmp_path / "a.png").write_bytes(data)
    picture = decode_image(data)
    want = _want(model, picture)
    assert len(np.unique(want)) > 1
    image = Image.open(io.BytesIO(data))
    sources: list[Source] = [tmp_path / "a.png", str(tmp_path / "a.png"), data, bytearray(data), memoryview(data)]
    for source in [*sources, picture, image, image.convert("RGBA")]:
        found = segmenter(source)
        np.testing.assert_array_equal(found.labels, want)
        np.testing.assert_array_equal(found.picture, picture)
        assert found.labels.dtype == np.uint8 and found.names == NAMES
    assert [segmenter(source).name for source in sources[:3]] == ["a.png", "a.png", None]


def test_pictures_are_turned_upright(segmenter: Segmenter) -> None:
    plain = Image.open(io.BytesIO(picture_bytes(2, ImageFormat.PNG)))
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    plain.save(buffer, "PNG", exif=exif)
    turned = segmenter(buffer.getvalue())
    assert turned.labels.shape == (40, 30)
    np.testing.assert_array_equal(turned.labels, segmenter(Image.open(buffer)).labels)
    np.testing.assert_array_equal(turned.picture, np.rot90(np.asarray(plain), -1))


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (np.zeros((4, 4), np.uint8), r"uint8 \[H, W, 3\], not uint8 \[4, 4\]: drop an alpha"),
        (np.zeros((4, 4, 4), np.uint8), "drop an alpha channel"),
        (np.zeros((4, 4, 3), np.float32), "not float32"),
        (np.zeros((0, 4, 3), np.uint8), r"\[0, 4, 3\]"),
        (7, "not int"),
        (None, "not NoneType"),
    ],
)
def test_what_is_no_picture_is_refused(segmenter: Segmenter, source: Source, text: str) -> None:
    with pytest.raises(InputError, match=text):
        segmenter(source)


def test_damaged_pictures_are_refused_by_name(segmenter: Segmenter, model: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.jpg").write_bytes(picture_bytes(1)[:200])
    with pytest.raises(ImageError, match=r"cut\.jpg: the JPEG"):
        segmenter(tmp_path / "cut.jpg")
    with pytest.raises(ImageError, match="more than the limit"):
        segmenter(bomb())
    with pytest.raises(ImageError, match="not a JPEG, PNG, WebP, BMP or TIFF"):
        segmenter(b"GIF89a")
    with Segmenter(model, max_pixels=1000) as small, pytest.raises(ImageError, match="limit of 1000"):
        small(Image.new("RGB", (40, 30)))


def test_a_batch_gives_what_infer_saves(model: Path, tmp_path: Path) -> None:
    names = fill(tmp_path / "in", 23)
    with load(model, 2, concurrency=8) as engine:
        infer(engine, tmp_path / "in", tmp_path / "out")
    with Segmenter(model, 2) as segmenter:
        found = list(segmenter.batch(tmp_path / "in" / name for name in names))
    assert [f.name for f in found] == names
    for name, one in zip(names, found, strict=True):
        saved = tmp_path / "out" / f"{Path(name).stem}.png"
        np.testing.assert_array_equal(one.labels, read_mask(saved))
        assert one.png() == saved.read_bytes()


def test_a_bad_picture_ends_a_batch_or_is_passed_over(segmenter: Segmenter) -> None:
    pictures = [picture_bytes(1), b"no picture", picture_bytes(2)]
    with pytest.raises(ImageError, match="not a JPEG, PNG, WebP, BMP or TIFF"):
        list(segmenter.batch(pictures))
    bad: list[tuple[Source, str]] = []
    found = list(segmenter.batch(iter(pictures), on_bad=lambda source, error: bad.append((source, str(error)))))
    assert len(found) == 2 and bad == [(b"no picture", "not a JPEG, PNG, WebP, BMP or TIFF picture")]


def test_a_batch_reads_only_a_little_ahead(segmenter: Segmenter) -> None:
    taken = 0

    def pictures() -> Iterator[bytes]:
        nonlocal taken
        for seed in range(10_000):
            taken += 1
            yield picture_bytes(seed % 3)

    results = segmenter.batch(pictures())
    for _ in range(5):
        next(results)
    results.close()
    assert 5 <= taken < 40


def test_a_label_map_has_shares_masks_and_polygons(segmenter: Segmenter) -> None:
    found = segmenter(picture_bytes(3))
    shares = found.share()
    assert round(sum(shares.values()), 12) == 1 and list(shares.values()) == sorted(shares.values(), reverse=True)
    for label in np.unique(found.labels):
        mask = found.mask(int(label))
        np.testing.assert_array_equal(mask, found.mask(NAMES[label]))
        assert mask.mean() == shares[NAMES[label]]
        inside = [p for p in found.polygons(background=True) if p.label == label]
        assert sum(p.area for p in inside) == mask.sum()
    assert 0 not in {p.label for p in found.polygons()}
    assert len(found.polygons(min_area=30)) < len(found.polygons())
    with pytest.raises(UsageError, match="no class is called 'cat'; there are ground, square, disk, ring"):
        found.mask("cat")


def test_a_label_map_is_drawn(segmenter: Segmenter) -> None:
    found = segmenter(picture_bytes(4))
    np.testing.assert_array_equal(found.colour(), voc_palette()[found.labels])
    np.testing.assert_array_equal(found.overlay(0), found.picture)
    plain = found.overlay(1)
    np.testing.assert_array_equal(plain[found.labels != 0], found.colour()[found.labels != 0])
    lined = found.overlay(0, outline=1)
    changed = (lined != found.picture).any(axis=2)
    borders = np.zeros(found.labels.shape, bool)
    borders[1:] |= found.labels[1:] != found.labels[:-1]
    borders[:, 1:] |= found.labels[:, 1:] != found.labels[:, :-1]
    assert changed.any() and not changed[~borders].any()
    assert found.overlay(legend=True).shape[0] > found.picture.shape[0]
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(UsageError, match="alpha"):
            found.overlay(wrong)
    with pytest.raises(UsageError, match="0 to 64 pixels wide"):
        found.overlay(outline=65)


def test_a_label_map_is_saved(segmenter: Segmenter, tmp_path: Path) -> None:
    found = segmenter(picture_bytes(5))
    found.save(tmp_path / "new" / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "new" / "a.png"), found.labels)
    found.save(str(tmp_path / "a.JPG"))
    assert decode_image((tmp_path / "a.JPG").read_bytes()).shape == found.overlay(legend=True).shape
    with pytest.raises(UsageError, match=r"a\.tif: a label map is saved as \.png"):
        found.save(tmp_path / "a.tif")


def test_names_come_from_the_file_else_from_the_caller_else_are_numbers(model: Path, folder: Path) -> None:
    with Segmenter(model) as without:
        assert without.names == ()
        assert set(without(picture_bytes(1)).share()) <= {f"class {n}" for n in range(CLASSES)}
    options = CompileOptions(resolve_targets("native"), labels=NAMES)
    named = build(folder / "graph.pb", folder / "named.smalti", options).path
    with Segmenter(named) as own:
        assert own.names == NAMES
    with Segmenter(named, labels=["a", "b"]) as other:
        assert other.names == ("a", "b")


def test_an_engine_that_was_given_stays_open(model: Path) -> None:
    with load(model) as engine:
        with Segmenter(engine) as segmenter:
            segmenter(picture_bytes(1))
        engine(np.zeros((SIDE, SIDE, 3), np.uint8))
        with pytest.raises(UsageError, match="belong to a file"):
            Segmenter(engine, 2)


def test_a_file_that_is_refused_is_closed_again(model: Path) -> None:
    for wrong in ({"overlap": 3}, {"tile": (8, 8), "resize": Resize.FIT}, {"output": "other"}, {"max_pixels": 0}):
        with pytest.raises(UsageError):
            Segmenter(model, **wrong)  # type: ignore[arg-type]


# ---- graphs with other outputs ---------------------------------------------------------------------------------------

LOGITS = "c/logits/conv:0"


def test_the_label_map_among_several_outputs_is_found(folder: Path, model: Path) -> None:
    both = _built(folder, "both", ("labels:0", LOGITS), SIDE)
    picture = picture_bytes(6)
    with Segmenter(both) as segmenter, Segmenter(model) as plain:
        assert segmenter.network.left_out == (LOGITS,) and not segmenter.network.gives_scores
        np.testing.assert_array_equal(segmenter(picture).labels, _stretched(plain, picture))
    with Segmenter(both, output="c/logits/conv") as scores:
        assert scores.network.gives_scores and scores.network.left_out == ("labels:0",)
        np.testing.assert_array_equal(scores(picture).labels, _stretched(plain, picture))
    with pytest.raises(UsageError, match=r"no output other; there are labels:0 \(int32"):
        Segmenter(both, output="other")


def _stretched(plain: Segmenter, picture: bytes) -> NDArray[np.integer]:
    with Segmenter(plain.engine.path) as again:  # type: ignore[attr-defined]
        return again(picture).labels


def test_a_graph_that_ends_in_scores_is_labelled(folder: Path, open_model: Path) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (37, 50, 3), np.uint8)
    with Segmenter(_built(folder, "scores", (LOGITS,))) as scores, Segmenter(open_model) as labels:
        assert scores.network.gives_scores
        np.testing.assert_array_equal(scores(picture).labels, labels(picture).labels)


def test_scores_that_do_not_lie_on_the_pixels_are_refused(folder: Path) -> None:
    graph = GraphBuilder().placeholder("image", np.uint8, [1, None, None, 3])
    graph.node("Cast", "f", ["image"], DstT=np.float32)
    graph.node("AvgPool", "half", ["f"], ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding="SAME")
    graph.const("w", np.ones((1, 1, 3, 1), np.float32))
    graph.node("Conv2D", "one", ["f", "w"], strides=[1, 1, 1, 1], padding="SAME")
    (folder / "halves.pb").write_bytes(graph.bytes())
    for output, text in (
        ("half:0", "scores of 15 x 20 for a picture of 30 x 40 pixels"),
        ("one:0", "one value for each"),
    ):
        options = CompileOptions(resolve_targets("native"), outputs=(output,))
        with Segmenter(build(folder / "halves.pb", folder / "halves.smalti", options).path) as segmenter:
            with pytest.raises(UsageError, match=text):
                segmenter(np.zeros((30, 40, 3), np.uint8))


def test_a_graph_that_labels_no_picture_is_refused(folder: Path) -> None:
    flat = _built(folder, "flat", ("x0:0", "scaled:0"), SIDE)
    with pytest.raises(UsageError, match=r"no output is a label map: x0:0 \(float32, 4 dimensions\).*--output"):
        Segmenter(flat)
    graph, cut = folder / "cut.pb", folder / "cut.smalti"
    graph.write_bytes(network(SIDE))
    build(graph, cut, CompileOptions(resolve_targets("native"), inputs=("x0:0",)))
    with pytest.raises(UsageError, match=r"does not take one picture .* but x0:0 \(float32, 4 dimensions\)"):
        Segmenter(cut)


# ---- tiles -----------------------------------------------------------------------------------------------------------


def test_tiles_label_what_the_whole_network_labels(open_model: Path, folder: Path) -> None:
    """A pixel of this network sees two pixels to each side: with more overlap than that tiles change nothing."""
    picture = np.random.default_rng(3).integers(0, 256, (90, 131, 3), np.uint8)
    with Segmenter(open_model) as whole:
        want = whole(picture).labels
    with Segmenter(open_model, tile=(40, 32), overlap=8) as tiled:
        np.testing.assert_array_equal(tiled(picture).labels, want)
        assert tiled.preprocess.resize is Resize.NONE
        results = list(tiled.batch([picture, picture[:20, :20]]))
        np.testing.assert_array_equal(results[0].labels, want)
        assert results[1].labels.shape == (20, 20)


def test_a_network_of_one_size_labels_larger_and_smaller_pictures(model: Path, open_model: Path) -> None:
    picture = np.random.default_rng(4).integers(0, 256, (60, 50, 3), np.uint8)
    with Segmenter(model, tile=(SIDE, SIDE), overlap=8) as tiled, Segmenter(open_model) as whole:
        np.testing.assert_array_equal(tiled(picture).labels, whole(picture).labels)
        assert tiled(picture[:10, :30]).labels.shape == (10, 30)
    with pytest.raises(UsageError, match="takes tiles of 24 x 24 pixels, not 25 x 24: choose another --tile"):
        Segmenter(model, tile=(SIDE + 1, SIDE))


def test_scores_of_overlapping_tiles_are_summed(folder: Path, open_model: Path) -> None:
    picture = np.random.default_rng(5).integers(0, 256, (70, 70, 3), np.uint8)
    scores = _built(folder, "summed", (LOGITS,))
    with Segmenter(scores, tile=(40, 40), overlap=4) as tiled, Segmenter(open_model) as whole:
        different = tiled(picture).labels != whole(picture).labels
    # Only near the seams, where the border of a tile has its part in the sum.
    assert different.mean() < 0.2 and not different[:25, :25].any()


# ---- infer on the same road -----------------------------------------------------------------------------------------


def test_infer_takes_tiles_names_and_outputs(open_model: Path, folder: Path, tmp_path: Path) -> None:
    fill(tmp_path / "in", 3, height=60, width=80)
    with load(open_model) as engine:
        infer(engine, tmp_path / "in", tmp_path / "out", options=InferOptions(tile=(40, 40), overlap=8))
    with Segmenter(open_model) as whole:
        for found in whole.batch(sorted((tmp_path / "in").iterdir())):
            saved = read_mask(tmp_path / "out" / f"{Path(str(found.name)).stem}.png")
            np.testing.assert_array_equal(saved, found.labels)
