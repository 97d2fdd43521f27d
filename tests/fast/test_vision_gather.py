"""Which pictures folders, sub-folders, single files and lists stand for, and how they are named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.pictures import packed, smooth
from smalti.errors import ImageError, UsageError
from smalti.vision.names import PICTURE_SUFFIXES
from smalti.vision.voc import find_pictures, list_masks, list_pictures

JPEG = packed(smooth(8, 8))


def fill(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(JPEG)


def listed(folder: Path, *lines: str, root: Path | None = None) -> list[tuple[str, str | None]]:
    text = folder.parent / "the list.txt"
    text.write_bytes(b"".join(os.fsencode(line) + b"\n" for line in lines))
    return [(entry.name, entry.problem) for entry in find_pictures(root or folder, text)]


def names(*paths: Path, recursive: bool = False) -> list[str]:
    return list(find_pictures(paths[0] if len(paths) == 1 else paths, recursive=recursive).names)


# ---- folders and files -----------------------------------------------------------------------------------------------


def test_a_single_file_is_one_picture(tmp_path: Path) -> None:
    fill(tmp_path, "photos/a.jpg", "photos/b.jpg")
    found = find_pictures(tmp_path / "photos" / "a.jpg")
    assert [entry.path for entry in found] == [tmp_path / "photos" / "a.jpg"]
    assert found.folder == tmp_path / "photos" and found.roots == ()
    (tmp_path / "photos" / "scan").write_bytes(JPEG)
    assert names(tmp_path / "photos" / "scan") == ["scan"]


def test_several_paths_are_named_from_the_folder_that_holds_them(tmp_path: Path) -> None:
    fill(tmp_path, "a/x.jpg", "a/y.png", "b/x.jpg", "b/deep/z.jpg", "c.webp")
    assert names(tmp_path / "a", tmp_path / "b") == ["a/x.jpg", "a/y.png", "b/x.jpg"]
    assert names(tmp_path / "b", tmp_path / "a") == ["b/x.jpg", "a/x.jpg", "a/y.png"]
    assert names(tmp_path / "a", tmp_path / "b/deep/z.jpg") == ["a/x.jpg", "a/y.png", "b/deep/z.jpg"]
    assert names(tmp_path / "a" / "x.jpg", tmp_path / "a" / "y.png") == ["x.jpg", "y.png"]
    assert names(tmp_path / "c.webp", tmp_path / "a" / "x.jpg") == ["c.webp", "a/x.jpg"]
    found = find_pictures([tmp_path / "a", tmp_path / "b"], image_num=2)
    assert list(found.names) == ["a/x.jpg", "a/y.png"] and found.folder == tmp_path
    assert all(entry.path is not None and entry.path.is_file() for entry in found)


def test_a_picture_counts_once_however_many_paths_lead_to_it(tmp_path: Path) -> None:
    fill(tmp_path, "a/x.jpg", "a/sub/y.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert names(tmp_path / "a", tmp_path / "a/x.jpg", tmp_path / "link", tmp_path / "link/x.jpg") == ["x.jpg"]
    assert names(tmp_path / "a", tmp_path / "a/sub", recursive=True) == ["sub/y.jpg", "x.jpg"]


def test_relative_paths_and_links_to_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, "a/x.jpg", "b/y.jpg")
    (tmp_path / "a" / "z.jpg").symlink_to(tmp_path / "b" / "y.jpg")
    monkeypatch.chdir(tmp_path)
    assert names(Path("a"), Path("b/y.jpg")) == ["a/x.jpg", "a/z.jpg", "b/y.jpg"]
    found = find_pictures([Path("b/y.jpg"), Path("a/z.jpg")])
    assert list(found.names) == ["b/y.jpg", "a/z.jpg"] and list(found.links) == [1]
    assert list(find_pictures(Path("a/z.jpg")).links) == [0]


def test_what_is_no_path_of_pictures_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, "a/x.jpg")
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.txt").write_text("x\n")
    for paths, words in (
        ([tmp_path / "nowhere"], "there is no folder .*nowhere: give one that exists"),
        ([tmp_path / "no.jpg"], "there is no picture .*no.jpg: give one that exists"),
        ([tmp_path / "a", tmp_path / "nowhere"], "there is no folder"),
        ([tmp_path / "a", tmp_path / "empty"], "there is no picture"),
        ([], "there is no folder of pictures"),
    ):
        with pytest.raises(UsageError, match=words):
            find_pictures(paths)
    for paths in ([tmp_path / "a", tmp_path / "a"], [tmp_path / "a" / "x.jpg"]):
        with pytest.raises(UsageError, match="one folder"):
            find_pictures(paths, tmp_path / "list.txt")
    with pytest.raises(UsageError, match="leave one of the two out"):
        find_pictures(tmp_path / "a", tmp_path / "list.txt", recursive=True)


def test_a_file_of_another_kind_named_alone_is_refused_with_what_to_do(tmp_path: Path) -> None:
    gif = tmp_path / "a.gif"
    gif.write_bytes(packed(smooth(8, 8), "GIF"))
    with pytest.raises(ImageError, match=r"a\.gif: not a JPEG.* but GIF: convert it to PNG or JPEG"):
        find_pictures(gif)
    (tmp_path / "a.jpg").write_text("hello")
    with pytest.raises(ImageError, match="not a JPEG"):
        find_pictures(tmp_path / "a.jpg")
    fill(tmp_path, "b.jpg")
    assert names(gif, tmp_path / "b.jpg") == ["a.gif", "b.jpg"]  # beside others it is a bad picture among good ones


def test_other_kinds_in_a_folder_are_counted(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", "b.gif", "c.GIF", "d.heic", "sub/e.gif", "notes.txt", ".hidden/f.gif")
    assert find_pictures(tmp_path).left_out == {"GIF": 2, "HEIC": 1}
    fill(tmp_path, "sub/ok.jpg")
    assert find_pictures(tmp_path, recursive=True).left_out == {"GIF": 3, "HEIC": 1}
    assert find_pictures([tmp_path, tmp_path / "sub"]).left_out == {"GIF": 3, "HEIC": 1}
    fill(tmp_path / "others", "a.gif")
    with pytest.raises(UsageError, match="but 1 GIF, which are not read: convert them to PNG or JPEG"):
        find_pictures(tmp_path / "others")


# ---- sub-folders -----------------------------------------------------------------------------------------------------


def test_sub_folders_are_looked_into_when_asked_for(tmp_path: Path) -> None:
    fill(
        tmp_path,
        "in/b.jpg",
        "in/a/c.png",
        "in/a/deep/d.bmp",
        "in/.hidden/e.jpg",
        "in/.trash.jpg/f.jpg",
        "in/z.jpg/g.tif",
    )
    fill(tmp_path, "elsewhere/h.jpg")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    found = find_pictures(tmp_path / "in", recursive=True)
    assert list(found.names) == ["a/c.png", "a/deep/d.bmp", "b.jpg", "z.jpg/g.tif"]
    assert found.recursive and found.roots == (tmp_path / "in",)
    assert names(tmp_path / "in") == [".trash.jpg", "b.jpg", "z.jpg"]
    assert list(find_pictures(tmp_path / "in", image_num=2, recursive=True).names) == ["a/c.png", "a/deep/d.bmp"]


def test_results_of_an_earlier_job_are_no_pictures(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", "labels/a.png", "labels/overlay/a.jpg", "labels/smalti-journal.jsonl", "sub/b.jpg")
    assert names(tmp_path, recursive=True) == ["a.jpg", "sub/b.jpg"]
    assert names(tmp_path / "labels", recursive=True) == ["a.png", "overlay/a.jpg"]


def test_a_folder_that_has_only_sub_folders_says_so(tmp_path: Path) -> None:
    fill(tmp_path, "in/sub/a.jpg")
    with pytest.raises(UsageError, match="itself: add --recursive for its sub-folders"):
        find_pictures(tmp_path / "in")
    assert list_pictures(tmp_path / "in", recursive=True)[0].stem == "sub/a"


@pytest.mark.skipif(os.geteuid() == 0, reason="the system lets root read every folder")
def test_a_sub_folder_that_may_not_be_read_is_an_error(tmp_path: Path) -> None:
    fill(tmp_path, "in/a.jpg", "in/sub/b.jpg")
    (tmp_path / "in" / "sub").chmod(0)
    with pytest.raises(UsageError, match="cannot read the folder .*sub"):
        find_pictures(tmp_path / "in", recursive=True)
    (tmp_path / "in" / "sub").chmod(0o700)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.lists(st.sampled_from(["a", "b", "a.jpg", "c d"]), max_size=3).map(tuple), min_size=1, max_size=6))
def test_every_picture_of_a_tree_is_found_once(
    tmp_path_factory: pytest.TempPathFactory, folders: set[tuple[str, ...]]
) -> None:
    root = tmp_path_factory.mktemp("tree")
    for folder in folders:
        fill(root, "/".join((*folder, "x.jpeg")))
    want = sorted("/".join((*folder, "x.jpeg")) for folder in folders)
    assert sorted(names(root, recursive=True)) == want
    assert sorted(find_pictures([root, *(root / "/".join(f) for f in folders)], recursive=True).names) == want


# ---- lists -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [*PICTURE_SUFFIXES, ".JPG", ".TIFF", ".gif", ""])
def test_a_listed_file_that_exists_is_found_whatever_its_kind(tmp_path: Path, suffix: str) -> None:
    folder = tmp_path / "in"
    fill(folder, f"photo{suffix}", f"sub/other{suffix}")
    lines = [
        f"photo{suffix}",
        f"sub/other{suffix}",
        f"./sub//other{suffix}",
        f"{folder}/photo{suffix}",
        f"  photo{suffix}\r",
    ]
    want = [f"photo{suffix}", f"sub/other{suffix}", f"sub/other{suffix}", f"photo{suffix}", f"photo{suffix}"]
    assert listed(folder, *lines) == [(name, None) for name in want]
    if suffix != ".gif":
        assert listed(folder, "photo", "sub/other -1") == [(f"photo{suffix}", None), (f"sub/other{suffix}", None)]


def test_listed_paths_may_lead_through_links_and_from_other_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "in"
    fill(folder, "a.jpg", "sub/b.jpg")
    (tmp_path / "link").symlink_to(folder)
    (folder / "c.jpg").symlink_to(tmp_path / "nowhere")
    fill(tmp_path, "outside.jpg")
    monkeypatch.chdir(tmp_path)
    assert listed(folder, f"{tmp_path}/link/a.jpg", "in/a.jpg", "../in/sub/b.jpg", "c.jpg", "link/sub/b") == [
        ("a.jpg", None),
        ("a.jpg", None),
        ("sub/b.jpg", None),
        ("c.jpg", None),
        ("sub/b.jpg", None),
    ]
    assert listed(folder, f"{folder}/a.jpg", root=tmp_path / "link") == [("a.jpg", None)]
    assert listed(folder, "in/sub/b.jpg", root=Path("in")) == [("sub/b.jpg", None)]
    out = "the line leads out of the folder"
    assert listed(folder, "../outside.jpg", f"{tmp_path}/outside.jpg", "outside.jpg") == [
        ("../outside.jpg", out),
        (f"{tmp_path}/outside.jpg", out),
        ("outside.jpg", out),
    ]


def test_names_with_spaces_and_columns(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    fill(folder, "two words.jpg", " led.jpg", "plain.jpg", "two")
    assert listed(folder, "two words.jpg 1", "two words\t-1", " led.jpg", "plain  1 0 -1", "two words and more") == [
        ("two words.jpg", None),
        ("two words.jpg", None),
        (" led.jpg", None),
        ("plain.jpg", None),
        ("two words.jpg", None),
    ]


def test_paths_of_a_data_set(tmp_path: Path) -> None:
    fill(tmp_path / "voc" / "JPEGImages", "a.jpg", "b.webp")
    lines = ("JPEGImages/a.jpg", "/JPEGImages/a.jpg /SegmentationClass/a.png", "/JPEGImages/b.webp", "b")
    found = listed(tmp_path / "voc", *lines)
    assert found == [("a.jpg", None), ("a.jpg", None), ("b.webp", None), ("b.webp", None)]


def test_what_is_not_there_is_said_to_be_so(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    fill(folder, "a.jpg", "sub/b.jpg")
    assert listed(folder, "missing", "missing.gif", "sub", "a.jpg/b.jpg") == [
        ("missing", "no such picture"),
        ("missing.gif", "no such picture"),
        ("sub", "a folder, not a picture"),
        ("a.jpg/b.jpg", "no such picture"),
    ]


def test_masks_of_a_list_are_png_whatever_the_pictures_are(tmp_path: Path) -> None:
    fill(tmp_path / "masks", "a.png", "sub/b.png", "c.jpg")
    (tmp_path / "list.txt").write_text("a.webp\nsub/b.tiff\nc.jpg\n")
    found = list_masks(tmp_path / "masks", tmp_path / "list.txt")
    assert [(entry.name, entry.problem) for entry in found] == [
        ("a.png", None),
        ("sub/b.png", None),
        ("c.jpg", "no such mask"),
    ]
