"""The file of a calibration record: what is written is read again, and what is wrong is refused in words."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from passes_kit import Maker, graph_of
from smalti.building.calibrate import load_record, write_record
from smalti.errors import UsageError
from smalti.ir.graph import Level
from smalti.quant import record as record_module
from smalti.quant.calibrate import check_record
from smalti.quant.modes import ActivationScheme, CalibAlgo, Granularity, QuantMode, QuantOptions
from smalti.quant.record import CalibrationRecord, SeenImage, TensorStats, parse_record, short

OPTIONS = QuantOptions(
    QuantMode.QINT8_MIXED_FLOAT16, CalibAlgo.MSE, Granularity.PER_TENSOR, ActivationScheme.SYMMETRIC, ("a:0",)
)
DIGEST = "0123456789abcdef" * 4
RECORD = CalibrationRecord(
    tensors={
        "b:0": TensorStats(-1.5, 2.0, -3.25, 4.0, (-3.25, 0.0), (4.0, 0.1), (0.5, 1e-20), 0.25),
        "a:0": TensorStats(0.0, 6.0, 0.0, 6.0),
    },
    options=OPTIONS,
    graph_name="net",
    graph_sha256=DIGEST,
    preprocess={"resize": "fit", "input_size": 513},
    images=(SeenImage("one.jpg", DIGEST), SeenImage("zw\u00f6lf \u2028.png", DIGEST)),
    warnings=("only 2 images were seen",),
    producer="1.2.3",
)


def changed(**fields: Any) -> bytes:
    return json.dumps({**json.loads(RECORD.to_json()), **fields}).encode()


def tensor(**fields: Any) -> bytes:
    return json.dumps({"tensors": {"x:0": {"low": -1.0, "high": 2.0, **fields}}}).encode()


def test_a_record_survives_its_file() -> None:
    data = RECORD.to_json()
    assert parse_record(data) == RECORD
    assert parse_record(data).to_json() == data
    assert parse_record(data).summary() == RECORD.summary()


def test_the_order_of_tensors_does_not_change_the_file() -> None:
    turned = CalibrationRecord(dict(reversed(list(RECORD.tensors.items()))))
    assert turned.to_json() == CalibrationRecord(RECORD.tensors).to_json()


def test_the_summary_keeps_no_names_of_pictures() -> None:
    summary = RECORD.summary()
    assert "one.jpg" not in json.dumps(summary)
    assert summary["images"] == 2 and summary["warnings"] == ["only 2 images were seen"]
    assert summary["clipped"] == {"b:0": 0.25}
    other = CalibrationRecord(RECORD.tensors, OPTIONS, images=RECORD.images[:1])
    assert other.summary()["images_sha256"] != summary["images_sha256"]


def test_ranges_by_hand_need_only_low_and_high() -> None:
    record = parse_record(b'{"tensors": {"x:0": {"low": -1, "high": 2.5}}}')
    assert record.tensors == {"x:0": TensorStats(-1.0, 2.5, -1.0, 2.5)}
    assert record.options is None and record.graph_sha256 is None and record.images == ()


def test_numbers_are_the_shortest_that_float32_tells_apart() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 2**32, 2000, np.uint32).view(np.float32)
    for value in values[np.isfinite(values)]:
        assert np.float32(short(value)) == value
    assert short(np.float32(0.1)) == 0.1


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "no calibration record"),
        (b"\xff\xfe", "no calibration record"),
        (b"[" * 200_000, "no calibration record"),
        (b"1" * 6000, "no calibration record"),
        (b"[]", "must be an object"),
        (b"{}", 'needs "tensors"'),
        (b'{"tensors": {}}', "names no tensor"),
        (b'{"tensors": {"x": 1}}', "must be an object"),
        (b'{"tensors": {"x": {"low": 1}}}', "has no high"),
        (b'{"tensors": {"x": {"low": 1, "high": 2}, "x": {"low": 1, "high": 3}}}', "twice"),
        (b'{"tensors": {"x": {"low": NaN, "high": 2}}}', "NaN"),
        (b'{"tensors": {"x": {"low": 0, "high": Infinity}}}', "Infinity"),
        (b'{"tensors": {"x": {"low": 0, "high": 1e999}}}', "finite"),
        (b'{"tensors": {"x": {"low": 0, "high": 1e39}}}', "finite"),
        (b'{"tensors": {"x": {"low": 0, "high": ' + b"9" * 400 + b"}}}", "finite"),
        (b'{"tensors": {"x": {"low": "0", "high": 1}}}', "must be a number"),
        (b'{"tensors": {"x": {"low": true, "high": 1}}}', "must be a number"),
        (tensor(low=3.0), "low 3.0 is above high 2.0"),
        (tensor(seen_low=3.0), "seen_low 3.0 is above seen_high"),
        (tensor(clipped=1.5), "0 to 1"),
        (tensor(channel_low=[0.0]), "equally long"),
        (tensor(channel_low=3), "must be a list"),
        (tensor(colour=1), "no field 'colour'"),
        (changed(format="smalti-calibration-9"), "smalti-calibration-9"),
        (changed(extra=1), "no field 'extra'"),
        (changed(graph={"sha256": "12"}), "64 hexadecimal digits"),
        (changed(graph=[1]), "graph must be an object"),
        (changed(settings={"quant_mode": "q"}), "settings has no calib_algo"),
        (changed(preprocess={"input_size": -1}), "input_size"),
        (changed(images=[["x"]]), "a name and a SHA-256"),
        (changed(images={"x": 1}), "must be a list"),
        (changed(warnings=[1]), "must be text"),
        (changed(producer=1), "must be text"),
    ],
)
def test_what_is_wrong_is_refused_in_words(data: bytes, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_record(data)
    assert says in str(caught.value) and len(str(caught.value)) < 400


def test_an_unknown_choice_lists_the_known_ones() -> None:
    settings = {**json.loads(RECORD.to_json())["settings"], "calib_algo": "guess"}
    with pytest.raises(UsageError, match="linear, percentile, mse, entropy; not 'guess'"):
        parse_record(changed(settings=settings))


def test_damage_never_ends_in_another_error() -> None:
    data, rng, refused = RECORD.to_json(), random.Random(5), 0
    for _ in range(1500):
        broken = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            broken[rng.randrange(len(broken))] = rng.choice(b'0123456789{}[]",:-eN\x00\xff')
        try:
            parse_record(bytes(broken[: rng.randint(0, 2 * len(broken))]))
        except UsageError:
            refused += 1
    assert refused > 1000


def test_a_file_is_named_in_the_message(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    with pytest.raises(UsageError, match=r"r\.json: there is no such file"):
        load_record(path)
    path.write_text('{"tensors": 3}')
    with pytest.raises(UsageError, match=r"r\.json: calibration record: tensors must be an object"):
        load_record(path)
    with pytest.raises(UsageError):
        load_record(tmp_path)
    write_record(path, RECORD)
    assert load_record(path) == RECORD


def test_a_huge_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.json"
    write_record(path, RECORD)
    monkeypatch.setattr("smalti.building.calibrate.MAX_RECORD_BYTES", 100)
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("it was read"))
    with pytest.raises(UsageError, match="too large"):
        load_record(path)
    monkeypatch.setattr(record_module, "MAX_RECORD_BYTES", 100)
    with pytest.raises(UsageError, match="at most"):
        parse_record(bytes(101))


def test_a_record_must_fit_the_graph() -> None:
    m = Maker()
    first = m.conv(m.input(1, 5, 5, 3), 4)
    graph = graph_of(m.conv(first, 2), level=Level.CANONICAL)
    fitting = {first.name: TensorStats(0.0, 1.0, 0.0, 1.0, (0.0,) * 4, (1.0,) * 4, (0.5,) * 4)}
    check_record(CalibrationRecord(fitting, graph_sha256=DIGEST), graph, DIGEST)
    check_record(CalibrationRecord(fitting), graph, DIGEST)
    with pytest.raises(UsageError, match="another graph"):
        check_record(CalibrationRecord(fitting, graph_sha256=DIGEST[::-1]), graph, DIGEST)
    unknown = {f"{i}:0": TensorStats(0.0, 1.0, 0.0, 1.0) for i in range(7)}
    with pytest.raises(UsageError, match="'0:0', '1:0', '2:0', '3:0', '4:0' and 2 more"):
        check_record(CalibrationRecord({**fitting, **unknown}), graph, DIGEST)
    narrow = {first.name: TensorStats(0.0, 1.0, 0.0, 1.0, (0.0,), (1.0,), (0.5,))}
    with pytest.raises(UsageError, match="1 channels for .*, the graph 4"):
        check_record(CalibrationRecord(narrow), graph, DIGEST)
