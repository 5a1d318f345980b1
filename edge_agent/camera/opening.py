# SPDX-License-Identifier: Apache-2.0
"""From the settings to the frame source they ask for.

Opens nothing: the grab thread does. Called by the composition root.
"""

from pathlib import Path

from contracts.ids import StationAddress
from contracts.topics import Channel, topic
from edge_agent.camera.genicam import FiringGenicamSource, GenicamSource
from edge_agent.camera.mqtt import MqttSource
from edge_agent.camera.opencv import OpenCvSource
from edge_agent.camera.replay import PICTURE_SUFFIXES, ReplaySource
from edge_agent.camera.simulated import SimulatedSource
from edge_agent.camera.source import FrameSource
from edge_agent.camera.video import VideoSource
from edge_agent.clock import Clock
from edge_agent.reporting.bus import MessageBus
from edge_agent.source_settings import SourceSettings

_REPLAY_RATE_HZ = 1.0


def make_source(
    settings: SourceSettings,
    *,
    station: StationAddress,
    bus: MessageBus,
    clock: Clock,
    first_trigger: int,
    capacity: int,
) -> FrameSource:
    """The frame source of this station.

    Args:
        settings: kind, address, takt.
        station: names the frame topic.
        bus: carries MQTT frames.
        clock: the station's clock.
        first_trigger: first number of sources that count for themselves; follows the last recorded one.
        capacity: frames kept by sources that buffer.

    Raises:
        DeviceError: the address cannot be one of this kind.
    """
    product = settings.product
    if settings.kind == "simulated":
        return SimulatedSource(settings.url, clock, shares_clock=settings.shares_clock)
    if settings.kind == "mqtt":
        return MqttSource(
            bus,
            topic(station, Channel.FRAME),
            clock,
            capacity=capacity,
            first_trigger=first_trigger,
            product=product,
            shares_clock=settings.shares_clock,
        )
    if settings.kind == "genicam":
        # Only one that can be fired has `fire`: triggers look for it.
        make = FiringGenicamSource if settings.genicam.trigger == "software" else GenicamSource
        return make(
            settings.url,
            settings.genicam,
            clock,
            rate_hz=settings.rate_hz,
            buffers=capacity,
            first_trigger=first_trigger,
            product=product,
        )
    path = Path(settings.url)
    is_video = path.is_file() and (settings.kind == "opencv" or path.suffix.lower() not in PICTURE_SUFFIXES)
    if settings.kind == "replay" and not is_video:
        return ReplaySource(
            path,
            clock,
            rate_hz=settings.rate_hz or _REPLAY_RATE_HZ,
            is_looping=settings.loop,
            first_trigger=first_trigger,
            product=product,
        )
    if is_video:
        return VideoSource(
            path,
            clock,
            rate_hz=settings.rate_hz or (_REPLAY_RATE_HZ if settings.kind == "replay" else 0.0),
            is_looping=settings.loop,
            first_trigger=first_trigger,
            product=product,
        )
    return OpenCvSource(
        settings.url,
        clock,
        rate_hz=settings.rate_hz,
        capacity=capacity,
        first_trigger=first_trigger,
        product=product,
    )
