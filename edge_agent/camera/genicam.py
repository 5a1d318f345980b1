# SPDX-License-Identifier: Apache-2.0
"""GenICam cameras (GigE Vision, USB3 Vision) as a frame source, through Aravis.

A frame that came with holes is a part without a picture: its packets are counted as lost, its pixels are never judged.
The camera's own frame ids number the parts, so one that was lost on the way, or for which no buffer was free, shows as
a gap. Finding and connecting is the business of `camera.aravis`, setting the camera of `camera.genicam_setting`,
looking whether a silent camera is still there of `camera.gige_watch`.
"""

import logging
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Final

from edge_agent.camera.aravis import REFUSALS, connect, gone, load_aravis
from edge_agent.camera.block_ids import BlockIds
from edge_agent.camera.camera_clock import CameraClock, WallTime
from edge_agent.camera.genicam_setting import longest_on_the_way_s, set_camera, set_light
from edge_agent.camera.gige_watch import GigeWatch
from edge_agent.camera.pixel_formats import to_bgr
from edge_agent.camera.source import Frame
from edge_agent.clock import Clock
from edge_agent.errors import DeviceError
from edge_agent.log_pace import is_worth_a_line
from edge_agent.source_settings import GenicamSettings

_log = logging.getLogger(__name__)

_NS_PER_S: Final = 1e9
_US_PER_S: Final = 1e6
# A wait in Aravis cannot be broken off, so it is cut into slices.
_SLICE_S: Final = 0.05
_MIN_BUFFERS: Final = 4
# Packets that come for so long without making a picture: the stream has lost its place and does not find it again.
_ASTRAY_AFTER_S: Final = 2.0
_MIN_PACKETS: Final = 3
# A camera that is there lets go in milliseconds. To one that is gone Aravis talks for up to eight seconds.
_LET_GO_S: Final = 0.5
# A signal of a USB camera that was under way when its handler was taken off has long ended after so long.
_SIGNAL_ENDS_S: Final = 0.2


@dataclass(eq=False)
class _Session:
    """One connection. `using` is held by whoever touches camera or stream from the reading or closing side."""

    camera: Any
    stream: Any = None
    watch: GigeWatch | None = None
    handler: int | None = None
    frame_at_s: float = 0.0
    ignored: int | None = None
    is_lost: threading.Event = field(default_factory=threading.Event)
    is_closing: threading.Event = field(default_factory=threading.Event)
    using: threading.Lock = field(default_factory=threading.Lock)

    def let_go(self) -> None:
        """Stop the camera and free it. Takes long when it does not answer."""
        with self.using:
            try:
                if self.stream is not None and not self.is_lost.is_set():
                    self.camera.stop_acquisition()
            except REFUSALS as error:
                _log.info("camera did not stop: %s", error)
            if self.watch is not None:
                self.watch.close()
            if self.handler is not None:
                self.camera.get_device().disconnect(self.handler)
                time.sleep(_SIGNAL_ENDS_S)
            # The last references: Aravis joins its threads and gives the camera back.
            self.stream = None
            self.camera = None


class GenicamSource:
    """A GenICam camera that runs free or is triggered by a line of its own. Also `Adjustable`.

    Args:
        name: id, serial number, IP or hardware address of the camera; "" for the only one there is.
        settings: how it is set.
        clock: the station's clock.
        rate_hz: frames per second when it runs free; 0: as the camera has it.
        buffers: frames that Aravis may hold; one that finds none free is lost and shows as a gap.
        first_trigger: number of the first frame.
        product: product of every frame.
    """

    def __init__(
        self,
        name: str,
        settings: GenicamSettings,
        clock: Clock,
        *,
        rate_hz: float = 0.0,
        buffers: int = 8,
        first_trigger: int = 0,
        product: str | None = None,
    ) -> None:
        self._name = name
        self._settings = settings
        self._clock = clock
        self._rate_hz = rate_hz
        self._buffers = max(_MIN_BUFFERS, buffers)
        self._product = product
        self._ids = BlockIds(first_trigger)
        self._camera_clock = CameraClock()
        self._wall_time = WallTime(clock)
        self._session: _Session | None = None
        self._light: tuple[float | None, float | None] = (None, None)
        self._valid_from_s = 0.0
        self._letting_go: threading.Thread | None = None
        self.incomplete = 0
        self.outdated = 0

    @property
    def gaps(self) -> int:
        """Frames that the camera has counted and that never came."""
        return self._ids.gaps

    def open(self) -> None:
        """Find, connect, set and start the camera.

        Raises:
            DeviceError: Aravis is missing; the camera is away, held by another, or cannot be set as asked.
        """
        self.close()
        if self._letting_go is not None:
            # It holds the camera as long as it runs, unless the camera is gone.
            self._letting_go.join(_LET_GO_S)
        camera = connect(self._name)
        session = _Session(camera)
        del camera
        refusal = self._start(session)
        if refusal is not None:
            self._let_go(session)
            raise refusal
        self._session = session
        self._light = (self._settings.exposure_us, self._settings.gain_db)
        self._ids.restart()
        self._camera_clock.restart()

    def read(self, timeout_s: float) -> Frame | None:
        """The next frame, whole or not.

        Raises:
            DeviceError: the camera is gone, or was not opened.
        """
        session = self._session
        if session is None:
            raise gone(self._name, "is not open")
        give_up_at = self._clock.monotonic() + timeout_s
        while not session.is_closing.is_set():
            remaining_s = max(0.0, give_up_at - self._clock.monotonic())
            with session.using:
                if session.stream is None:
                    break
                buffer = session.stream.timeout_pop_buffer(int(min(remaining_s, _SLICE_S) * _US_PER_S))
                frame = None if buffer is None else self._take(buffer, session)
            if frame is not None:
                return frame
            self._check_presence(session)
            if remaining_s <= 0:
                return None
        return None

    def close(self) -> None:
        """Stop the camera and let go of it; of one that is gone, in the background."""
        session, self._session = self._session, None
        if session is None:
            return
        session.is_closing.set()
        self._let_go(session)

    def adjust(self, *, exposure_us: float | None, gain_db: float | None) -> None:
        """Set exposure and gain. Frames that may have been begun before are not given: they are gaps.

        Raises:
            DeviceError: the camera does not take it, or is not open.
        """
        session = self._session
        if session is None:
            raise gone(self._name, "is not open")
        wanted = (
            self._light[0] if exposure_us is None else exposure_us,
            self._light[1] if gain_db is None else gain_db,
        )
        if wanted == self._light:
            return
        with session.using:
            if session.camera is None:
                raise gone(self._name, "is not open")
            on_the_way_s = longest_on_the_way_s(session.camera)
            set_light(session.camera, exposure_us, gain_db)
            self._valid_from_s = self._clock.monotonic() + on_the_way_s
        self._light = wanted

    def _let_go(self, session: _Session) -> None:
        self._letting_go = threading.Thread(target=session.let_go, name="let-go", daemon=True)
        self._letting_go.start()
        self._letting_go.join(_LET_GO_S)

    def _start(self, session: _Session) -> DeviceError | None:
        """Set the camera and let it run.

        Gives the error back, made anew: one that was raised here would hold the camera as long as somebody holds it.
        """
        try:
            set_camera(session.camera, self._settings, self._rate_hz)
            self._start_stream(session)
        except DeviceError as error:
            return DeviceError(error.message, remedy=error.remedy, code=error.code)
        except REFUSALS as error:
            return gone(self._name, f"cannot be started: {error}")
        return None

    def _start_stream(self, session: _Session) -> None:
        aravis, camera = load_aravis(), session.camera
        if not camera.is_gv_device():
            is_lost = session.is_lost
            session.handler = camera.get_device().connect("control-lost", lambda *_: is_lost.set())
        if camera.is_gv_device():
            # As root Aravis would read from a raw socket, which hears everything until its filter is set: a stray
            # packet taken for the first of a stream made it discard every frame after it as late.
            camera.gv_set_stream_options(aravis.GvStreamOption.PACKET_SOCKET_DISABLED)
        session.stream = stream = camera.create_stream(None, None)
        if camera.is_gv_device():
            resend = aravis.GvStreamPacketResend
            stream.set_property("packet-resend", resend.ALWAYS if self._settings.resends else resend.NEVER)
            # As much as a frame, where the system allows it: a reader that sleeps for a moment loses no packets.
            stream.set_property("socket-buffer", aravis.GvStreamSocketBuffer.AUTO)
            address = camera.get_device().get_device_address().get_address().to_string()
            session.watch = GigeWatch(address, self._clock)
        payload_bytes = camera.get_payload()
        for _ in range(self._buffers):
            stream.push_buffer(aravis.Buffer.new_allocate(payload_bytes))
        session.frame_at_s = self._clock.monotonic()
        camera.start_acquisition()

    def _check_presence(self, session: _Session) -> None:
        if session.watch is not None and not (session.watch.is_there() and self._is_controlled(session)):
            session.is_lost.set()
        if session.is_lost.is_set():
            raise gone(self._name, "has gone: it does not answer any more")
        if self._is_astray(session):
            raise gone(self._name, "sends packets that make no pictures")

    @staticmethod
    def _is_controlled(session: _Session) -> bool:
        """Whether a GigE camera still obeys; one that lost its power for a moment answers, but to anybody.

        Asked instead of listened to: Aravis' signal comes in the thread that ends with the device. Whoever let go of
        the camera on hearing it left that signal the last to hold the device, the thread waited for itself, and the
        process was aborted.
        """
        with session.using:
            return session.camera is None or session.camera.get_device().is_controller()

    def _is_astray(self, session: _Session) -> bool:
        """Whether packets come and are thrown away: as late, after one from elsewhere was taken for the first."""
        now_s = self._clock.monotonic()
        if session.watch is None or now_s - session.frame_at_s < _ASTRAY_AFTER_S:
            return False
        session.frame_at_s = now_s
        with session.using:
            if session.stream is None:
                return False
            ignored = int(session.stream.get_info_uint64_by_name("n_ignored_packets"))
        before, session.ignored = session.ignored, ignored
        return before is not None and ignored - before >= _MIN_PACKETS

    def _take(self, buffer: Any, session: _Session) -> Frame | None:
        """Copy a frame out of its buffer and give that back. None: it holds no frame, or one of an old exposure."""
        aravis = load_aravis()
        status = buffer.get_status()
        arrived_s = self._clock.monotonic()
        session.frame_at_s, session.ignored = arrived_s, None
        if session.watch is not None:
            session.watch.heard()
        if status in (aravis.BufferStatus.CLEARED, aravis.BufferStatus.ABORTED, aravis.BufferStatus.UNKNOWN):
            session.stream.push_buffer(buffer)
            return None
        frame_id, stamp_s = buffer.get_frame_id(), buffer.get_timestamp() / _NS_PER_S
        pixels, fault = None, ""
        if status == aravis.BufferStatus.SUCCESS:
            content, shape = buffer.get_image_data(), _shape(buffer)
            session.stream.push_buffer(buffer)
            pixels, fault = to_bgr(content, *shape)
        else:
            session.stream.push_buffer(buffer)
            fault = f"the picture came incomplete ({status.value_nick})"
        captured_s = self._camera_clock.moment_s(stamp_s, arrived_s)
        trigger_number = self._ids.number(frame_id, arrived_s)
        if captured_s < self._valid_from_s:
            self.outdated += 1
            return None
        if pixels is None:
            self._count_incomplete(trigger_number, fault)
        return Frame(
            pixels=pixels,
            captured_at=self._wall_time.at(captured_s),
            captured_monotonic=captured_s,
            trigger_number=trigger_number,
            product=self._product,
            fault=fault,
        )

    def _count_incomplete(self, trigger_number: int, fault: str) -> None:
        self.incomplete += 1
        if is_worth_a_line(self.incomplete):
            _log.warning("no picture trigger_number=%d incomplete=%d: %s", trigger_number, self.incomplete, fault)


class FiringGenicamSource(GenicamSource):
    """A GenICam camera set to software triggers. `SoftwareTriggered`, besides all that a `GenicamSource` is."""

    def fire(self) -> None:
        """Ask the camera for one frame, now.

        Raises:
            DeviceError: not open, or the camera did not take it.
        """
        session = self._session
        camera = None if session is None else session.camera
        if camera is None:
            raise gone(self._name, "is not open")
        try:
            camera.software_trigger()
        except REFUSALS as error:
            raise gone(self._name, f"did not take the trigger: {error}") from error


def _shape(buffer: Any) -> tuple[int, int, int, int]:
    """Format code, height, width, bytes of padding after a row."""
    padding_bytes, _ = buffer.get_image_padding()
    return buffer.get_image_pixel_format(), buffer.get_image_height(), buffer.get_image_width(), padding_bytes
