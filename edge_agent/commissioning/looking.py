# SPDX-License-Identifier: Apache-2.0
"""Takes a few frames through the station's own frame source, in a stated time, and lets go of the camera again.

Judges nothing. For a camera behind the broker it connects under a name of its own, so that a running station is not
thrown out. Used by `init` and `doctor`.
"""

import threading
import uuid
from dataclasses import dataclass, field, replace
from typing import Final

from edge_agent.camera.opening import make_source
from edge_agent.camera.source import Frame, FrameSource
from edge_agent.clock import Clock
from edge_agent.commissioning.broker_check import path_text
from edge_agent.errors import DeviceError, EdgeError, SourceEnded
from edge_agent.reporting.bus import PahoBus
from edge_agent.settings import BrokerSettings, Settings

_READ_S: Final = 0.2
# Folders are played at this rate: a person waits for the answer.
_REPLAY_RATE_HZ: Final = 10.0


@dataclass
class Look:
    """What a few seconds at the camera brought.

    Args:
        frames: the newest few, oldest first.
        count: how many came.
        rate_hz: frames per second between the first and the last; None for fewer than two.
        error: why it ended early.
    """

    frames: list[Frame] = field(default_factory=list)
    count: int = 0
    rate_hz: float | None = None
    error: EdgeError | None = None


def look(settings: Settings, clock: Clock, *, within_s: float, wanted: int) -> Look:
    """Open the source, take up to `wanted` frames within `within_s`, close it. Never raises.

    A driver that does not come back is left behind on its own thread.
    """
    found = Look()
    thread = threading.Thread(target=_look, args=(settings, clock, found, within_s, wanted), name="look", daemon=True)
    thread.start()
    thread.join(within_s + 3.0)
    if thread.is_alive():
        remedy = "unplug the camera and plug it in again, or restart this machine"
        # The thread still has the old one; what it writes there nobody reads.
        return Look(
            error=DeviceError(f"the camera's driver has not answered for {within_s + 3.0:.0f} s", remedy=remedy)
        )
    return found


def make_bus(broker: BrokerSettings, purpose: str) -> PahoBus:
    """A bus under a name of its own, without a last will."""
    return PahoBus(
        broker.url,
        f"sightline-{purpose}-{uuid.uuid4().hex[:8]}",
        broker.username,
        broker.password,
        keepalive_s=broker.keepalive_s,
        ca_file=path_text(broker.ca_file),
        cert_file=path_text(broker.cert_file),
        key_file=path_text(broker.key_file),
    )


def _look(settings: Settings, clock: Clock, found: Look, within_s: float, wanted: int) -> None:
    bus: PahoBus | None = None
    source: FrameSource | None = None
    try:
        bus = make_bus(settings.broker, "look")
        asked = settings.source
        if asked.kind == "mqtt":
            bus.start()
            _wait_for(bus, clock, within_s)
        if asked.kind == "replay":
            asked = replace(asked, rate_hz=max(asked.rate_hz, _REPLAY_RATE_HZ))
        source = make_source(
            asked,
            station=settings.station,
            bus=bus,
            clock=clock,
            first_trigger=0,
            capacity=settings.bounds.queue_frames,
        )
        source.open()
        _take(source, clock, found, within_s, wanted)
    except EdgeError as error:
        found.error = error
    except Exception as error:  # noqa: BLE001 - a driver's own exception is a finding, not a traceback
        found.error = DeviceError(f"the camera's driver failed: {error}", remedy="check source.kind and source.url")
    finally:
        if source is not None:
            source.close()
        if bus is not None:
            bus.stop()


def _wait_for(bus: PahoBus, clock: Clock, within_s: float) -> None:
    give_up_at = clock.monotonic() + within_s
    pause = threading.Event()
    while not bus.is_connected and clock.monotonic() < give_up_at:
        pause.wait(0.05)


def _take(source: FrameSource, clock: Clock, found: Look, within_s: float, wanted: int) -> None:
    give_up_at = clock.monotonic() + within_s
    times: list[float] = []
    while found.count < wanted and clock.monotonic() < give_up_at:
        try:
            frame = source.read(_READ_S)
        except SourceEnded:
            break
        if frame is None:
            continue
        times.append(frame.captured_monotonic)
        found.count += 1
        found.frames = [*found.frames, frame][-5:]
        if len(times) > 1 and times[-1] > times[0]:
            found.rate_hz = (len(times) - 1) / (times[-1] - times[0])
