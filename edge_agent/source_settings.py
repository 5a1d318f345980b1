# SPDX-License-Identifier: Apache-2.0
"""The section `[source]` of the settings: which camera, and how it is set.

Knows which key fits which kind of source; one that does not fit is a fault, because an exposure that no camera was
told of is worse than none. What a certain camera can do (formats, ranges, lines) is not known here: opening it finds
out. Called by `settings`, which alone reads the environment.
"""

from dataclasses import dataclass
from typing import Final

from edge_agent.settings_reader import SettingsReader
from edge_agent.value_checks import check_name, check_url

SOURCE_KINDS: Final = ("simulated", "replay", "opencv", "mqtt", "genicam")
TRIGGER_MODES: Final = ("free-run", "software", "hardware")
# Names of the GenICam Pixel Format Naming Convention; `camera.pixel_formats` turns each into BGR.
PIXEL_FORMATS: Final = ("Mono8", "BayerGR8", "BayerRG8", "BayerGB8", "BayerBG8", "RGB8", "BGR8")

# Keys beside kind, product and retry_max_s, which every kind has.
_FITTING: Final[dict[str, tuple[str, ...]]] = {
    "url": ("simulated", "replay", "opencv", "genicam"),
    "rate_hz": ("replay", "opencv", "genicam"),
    "loop": ("replay", "opencv"),
    "shares_clock": ("simulated", "mqtt"),
    "pixel_format": ("genicam",),
    "exposure_us": ("genicam",),
    "gain_db": ("genicam",),
    "trigger": ("genicam",),
    "trigger_line": ("genicam",),
    "packet_size": ("genicam",),
    "resend": ("genicam",),
}


@dataclass(frozen=True)
class GenicamSettings:
    """How a GenICam camera is set. What is None, "" or 0 stays as the camera has it.

    Args:
        pixel_format: one of `PIXEL_FORMATS`, or "".
        exposure_us: exposure, µs.
        gain_db: gain, dB.
        trigger: one of `TRIGGER_MODES`.
        trigger_line: the camera's name of the line that triggers, such as Line0; with "hardware" only.
        packet_size_bytes: of the GigE Vision stream; 0: as the camera has it.
        resends: ask a GigE Vision camera again for packets that were lost.
    """

    pixel_format: str = ""
    exposure_us: float | None = None
    gain_db: float | None = None
    trigger: str = "free-run"
    trigger_line: str = ""
    packet_size_bytes: int = 0
    resends: bool = True


@dataclass(frozen=True)
class SourceSettings:
    """Where frames come from. `rate_hz` 0: as they come (replay: 1 per second)."""

    kind: str
    url: str
    product: str | None
    rate_hz: float
    loop: bool
    shares_clock: bool
    retry_max_s: float
    genicam: GenicamSettings = GenicamSettings()


def read_source(reader: SettingsReader) -> SourceSettings:
    """Read the section; faults are noted in the reader."""
    kind = reader.choice("source.kind", SOURCE_KINDS)
    if kind in SOURCE_KINDS:
        _refuse_what_does_not_fit(reader, kind)
    # An MQTT camera is found by its topic, a GenICam camera may be the only one; everything else has an address.
    url = reader.text("source.url", "" if kind in ("mqtt", "genicam") else None)
    if kind == "replay" and url:
        # As data_dir and every other path of the file: a supervisor starts the station in another folder.
        url = str(reader.absolute(url))
    if kind == "simulated" and url:
        check_url(reader, "source.url", url, ("tcp",), needs_port=True)
    product = reader.text("source.product", "")
    if product:
        check_name(reader, "source.product", product)
    return SourceSettings(
        kind=kind,
        url=url,
        product=product or None,
        rate_hz=reader.number("source.rate_hz", 0.0, low=0, high=1000),
        loop=reader.flag("source.loop", default=False),
        shares_clock=reader.flag("source.shares_clock", default=kind == "simulated"),
        retry_max_s=reader.number("source.retry_max_s", 5.0, low=0.05, high=600),
        genicam=_genicam(reader) if kind == "genicam" else GenicamSettings(),
    )


def _refuse_what_does_not_fit(reader: SettingsReader, kind: str) -> None:
    for name, kinds in _FITTING.items():
        if kind not in kinds:
            reader.refuse([f"source.{name}"], f"is for source.kind {' or '.join(kinds)}, not for {kind}; remove it")


def _genicam(reader: SettingsReader) -> GenicamSettings:
    settings = GenicamSettings(
        pixel_format=reader.choice("source.pixel_format", ("", *PIXEL_FORMATS), ""),
        exposure_us=reader.optional_number("source.exposure_us", low=0.1, high=1e9),
        gain_db=reader.optional_number("source.gain_db", low=-100, high=100),
        trigger=reader.choice("source.trigger", TRIGGER_MODES, "free-run"),
        trigger_line=reader.text("source.trigger_line", ""),
        packet_size_bytes=reader.integer("source.packet_size", 0, low=0, high=65_535),
        resends=reader.flag("source.resend", default=True),
    )
    if settings.trigger == "hardware" and not settings.trigger_line:
        reader.fault("source.trigger_line", 'expected the camera\'s name of the line, such as "Line0", got nothing')
    if settings.trigger != "hardware" and settings.trigger_line:
        reader.fault("source.trigger_line", f'is for source.trigger "hardware", not for "{settings.trigger}"')
    if settings.trigger != "free-run" and reader.is_given("source.rate_hz"):
        reader.fault("source.rate_hz", f'is for source.trigger "free-run", not for "{settings.trigger}"')
    if 0 < settings.packet_size_bytes < 576:
        reader.fault("source.packet_size", f"expected 0, or 576 … 65535 bytes, got {settings.packet_size_bytes}")
    return settings
