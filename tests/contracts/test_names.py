# SPDX-License-Identifier: Apache-2.0
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from contracts.codec import CodecError
from contracts.frames import FrameHeader, PictureEncoding, pack_frame, unpack_frame
from contracts.ids import StationAddress
from contracts.manifest import FileRole, Limits, PackageFile
from contracts.topics import Channel, every_station, parse_topic, topic
from tests.contracts import strategies


@given(strategies.stations, st.sampled_from(Channel))
def test_a_topic_reads_back_as_what_it_was_made_from(station: StationAddress, channel: Channel) -> None:
    assert parse_topic(topic(station, channel)) == (station, channel)


@given(strategies.stations)
def test_a_station_address_reads_back(station: StationAddress) -> None:
    assert StationAddress.parse(str(station)) == station


@pytest.mark.parametrize("bad", ["a/b", "a/b/c/d", "A/b/c", "a/../c", "a/+/c", "a/#/c", "a//c", "", "a/b/" + "x" * 64])
def test_a_station_address_that_could_escape_its_level_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match=r"station address|pattern"):
        StationAddress.parse(bad)


@pytest.mark.parametrize("bad", ["x/v1/a/b/c/report", "sightline/v1/a/b/report", "sightline/v1/a/b/c/unknown"])
def test_a_foreign_topic_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match=r"topic|Channel"):
        parse_topic(bad)


def test_one_filter_covers_every_station() -> None:
    assert every_station(Channel.REPORT) == "sightline/v1/+/+/+/report"


@pytest.mark.parametrize("bad", ["../model.onnx", "a/b.onnx", "manifest.json", ".hidden", "a..b", "A.onnx", ""])
def test_a_package_file_cannot_leave_its_folder(bad: str) -> None:
    with pytest.raises(ValidationError):
        PackageFile(name=bad, role=FileRole.MODEL, sha256="0" * 64, size_bytes=1)


def test_limits_out_of_order_are_refused() -> None:
    with pytest.raises(ValidationError, match="lies below"):
        Limits(ok_limit=2.0, ng_limit=1.0, sound_parts=10, rule="")


def header(**changes: object) -> FrameHeader:
    fields: dict[str, object] = {
        "trigger_number": 7,
        "captured_at": datetime(2026, 1, 1, tzinfo=UTC),
        "encoding": PictureEncoding.RAW,
        "height_px": 2,
        "width_px": 3,
    }
    return FrameHeader.model_validate(fields | changes)


def test_a_packed_frame_reads_back() -> None:
    picture = bytes(range(18))
    assert unpack_frame(pack_frame(header(), picture)) == (header(), picture)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"SLF1",
        b"JUNKJUNK",
        b"SLF1\xff\xff\xff\xff",
        b"SLF1\x00\x00\x00\x02{}",
        pack_frame(header(), bytes(17)),
        pack_frame(header(), bytes(19)),
    ],
)
def test_bytes_that_are_no_frame_are_refused(payload: bytes) -> None:
    with pytest.raises(CodecError):
        unpack_frame(payload)


@given(st.binary(max_size=200))
def test_junk_never_raises_anything_but_a_codec_error(junk: bytes) -> None:
    with pytest.raises(CodecError):
        unpack_frame(b"SLF1" + junk if not junk.startswith(b"\x00\x00\x00") else junk)
