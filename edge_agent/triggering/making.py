# SPDX-License-Identifier: Apache-2.0
"""From the settings to the trigger source they ask for, and to the camera paired with it.

Opens nothing: the grab thread does. Called by the composition root.
"""

from typing import Final, Protocol, TypeGuard

from contracts.ids import StationAddress
from contracts.topics import Channel, topic
from edge_agent.camera.source import Adjustable, FrameSource, SoftwareTriggered
from edge_agent.clock import Clock
from edge_agent.controller.opcua import OpcUaLink
from edge_agent.controller.settings import make_link
from edge_agent.errors import DeviceError
from edge_agent.reporting.bus import MessageBus
from edge_agent.trigger_settings import FREE_RUN, TriggerSettings
from edge_agent.triggering.controller import ControllerTriggers, PartReader, PolledFlag, Watch
from edge_agent.triggering.mqtt import MqttTriggers
from edge_agent.triggering.opcua import SubscribedVariable
from edge_agent.triggering.paired import AdjustableTriggeredSource, TriggeredSource
from edge_agent.triggering.pairing import Pairing
from edge_agent.triggering.source import TriggerBuffer, TriggerSource

_BUFFERED: Final = 256


class _FiringCamera(FrameSource, SoftwareTriggered, Protocol):
    """A camera that can be fired."""


def make_triggered(
    settings: TriggerSettings,
    camera: FrameSource,
    *,
    station: StationAddress,
    bus: MessageBus,
    clock: Clock,
    first_number: int,
    capacity: int,
    is_simulated: bool,
) -> TriggeredSource | None:
    """The camera with its triggers; None when it triggers itself.

    Args:
        settings: kind, delay and windows.
        camera: gives the frames.
        station: names the trigger topic.
        bus: carries MQTT triggers.
        clock: the station's clock.
        first_number: first number of triggers without one; follows the last recorded one.
        capacity: frames kept for a trigger that is still on its way.
        is_simulated: parts that pass unseen are not real ones.

    Raises:
        DeviceError: this camera cannot be triggered as the settings say.
    """
    if settings.kind == FREE_RUN:
        return None
    mode = settings.camera
    if mode == "auto":
        mode = "software" if _can_fire(camera) else "free-run"
    firing: SoftwareTriggered | None = None
    if mode == "software":
        if not _can_fire(camera):
            msg = "trigger.camera: software: this kind of camera cannot be fired"
            raise DeviceError(msg, remedy="choose free-run or hardware, or another source.kind", code="trigger-camera")
        firing = camera
    buffer = TriggerBuffer(
        clock,
        first_number=first_number,
        debounce_s=settings.debounce_s,
        shares_clock=settings.shares_clock,
        capacity=_BUFFERED,
    )
    pairing = Pairing(
        takes_first_after=mode == "free-run",
        window_s=settings.window_s,
        arrival_s=settings.arrival_s,
        max_pending=settings.max_pending,
        max_frames=capacity,
    )
    kind = AdjustableTriggeredSource if isinstance(camera, Adjustable) else TriggeredSource
    return kind(
        camera,
        _make_source(settings, buffer, station=station, bus=bus, clock=clock),
        pairing,
        clock,
        firing=firing,
        is_free_running=mode == "free-run",
        delay_s=settings.delay_s,
        is_simulated=is_simulated,
    )


def _can_fire(camera: FrameSource) -> TypeGuard[_FiringCamera]:
    return callable(getattr(camera, "fire", None))


def _make_source(
    settings: TriggerSettings, buffer: TriggerBuffer, *, station: StationAddress, bus: MessageBus, clock: Clock
) -> TriggerSource:
    line = settings.line
    if line is None:
        return MqttTriggers(bus, topic(station, Channel.TRIGGER), buffer, clock)
    link = make_link(line.controller, reads_inputs=line.reads_inputs, text_registers=line.part_id_registers)
    part = PartReader(link, line.number_address, line.part_id_address)
    watch: Watch
    if isinstance(link, OpcUaLink):
        is_number = line.number_address == line.address
        watch = SubscribedVariable(link, line.address, part, buffer, clock, interval_s=line.poll_s, is_number=is_number)
    else:
        watch = PolledFlag(link, line.address, part, buffer, clock, poll_s=line.poll_s)
    return ControllerTriggers(link, watch, buffer, clock, retry_max_s=line.controller.retry_max_s)
