# SPDX-License-Identifier: Apache-2.0
import io
import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import _drift_streams as streams
from central.quality.drift import CHANNELS, DriftMonitor, DriftSignal

Floats = NDArray[np.float64]


def story() -> tuple[Floats, NDArray[np.str_], dict[str, Floats]]:
    """Two products in turn for a day, a step of the light, a third product, the way back."""
    stream = streams.Stream(3, streams.Plant(batch_parts=500))
    pieces = [stream.parts(90_000), stream.parts(6_000, streams.light(-0.05)), stream.parts(15_000)]
    at = np.concatenate([piece[0] for piece in pieces])
    channels = {name: np.concatenate([piece[1][name] for piece in pieces]) for name in CHANNELS}
    product = np.array(["a", "bb"], "U3")[(np.arange(len(at)) // 700) % 2]
    product[97_000:102_000] = "new"
    return at, product, channels


def played(monitor: DriftMonitor, cuts: list[int], is_restarted: bool) -> tuple[list[DriftSignal], bytes]:
    at, product, channels = story()
    signals: list[DriftSignal] = []
    for first, last in itertools.pairwise([0, *cuts, len(at)]):
        part = {name: values[first:last] for name, values in channels.items()}
        signals += monitor.update_many(at[first:last], product[first:last], part)
        if is_restarted:
            monitor = DriftMonitor.from_bytes(monitor.to_bytes())
    return signals, monitor.to_bytes()


@pytest.fixture(scope="module")
def in_one_go() -> tuple[list[DriftSignal], bytes]:
    return played(DriftMonitor(reference_days=1), [], is_restarted=False)


def test_story_holds_signals_to_compare(in_one_go: tuple[list[DriftSignal], bytes]) -> None:
    signals, _ = in_one_go
    assert signals
    at, _, _ = story()
    assert abs(signals[0].onset - at[90_000]) <= 60
    assert signals[0].channels[0] == "brightness"
    assert signals[0].sizes["brightness"] == pytest.approx(-6, abs=2)


@pytest.mark.parametrize("seed", range(3))
def test_restart_anywhere_changes_no_signal_and_no_bit(seed: int, in_one_go: tuple[list[DriftSignal], bytes]) -> None:
    rng = np.random.default_rng(seed)
    cuts = sorted({*rng.integers(1, 110_000, 6).tolist(), int(rng.integers(90_000, 90_100)), 86_413 + seed})
    assert played(DriftMonitor(reference_days=1), cuts, is_restarted=True) == in_one_go


def test_parts_one_by_one_give_the_same_signals_and_state_as_all_at_once(
    in_one_go: tuple[list[DriftSignal], bytes],
) -> None:
    at, product, channels = story()
    monitor, signals = DriftMonitor(reference_days=1), []
    rows = zip(*(channels[name].tolist() for name in CHANNELS), strict=True)
    for time, name, row in zip(at.tolist(), product.tolist(), rows, strict=True):
        signal = monitor.update(time, name, dict(zip(CHANNELS, row, strict=True)))
        signals += [signal] if signal else []
    assert (signals, monitor.to_bytes()) == in_one_go


def altered(blob: bytes, **arrays: Any) -> bytes:
    with np.load(io.BytesIO(blob)) as loaded:
        held = {name: loaded[name] for name in loaded.files} | arrays
    out = io.BytesIO()
    np.savez(out, **held)
    return out.getvalue()


def test_bytes_of_others_are_refused_in_one_line(in_one_go: tuple[list[DriftSignal], bytes]) -> None:
    blob = in_one_go[1]
    with np.load(io.BytesIO(blob)) as loaded:
        header = loaded["header"].tobytes().decode()
    later = np.frombuffer(header.replace('"version": 1', '"version": 2').encode(), np.uint8)
    for bad in (
        b"", b"\x80\x04N.", blob[:-30], altered(blob, header=later), altered(blob, fast_value=np.zeros((3, 5, 2, 4))),
        altered(blob, now_shift=np.full(5, np.nan)), altered(blob, code=np.array([4])),
        altered(blob, slow_sd=np.zeros(5)), altered(blob, now_shift=np.array(["x"] * 5)),
        altered(blob, now_shift=np.array([None] * 5, dtype=object)),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="expected") as told:
            DriftMonitor.from_bytes(bad)
        assert "\n" not in str(told.value)
