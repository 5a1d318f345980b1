# SPDX-License-Identifier: Apache-2.0
"""An RTSP camera: GStreamer's RTSP server with a moving test picture. Run as a program; says "ready" when it listens.

Usage: python -m tests.edge.camera.rtsp_server PORT
"""

import importlib
import sys

PATH = "/camera"
# I420, because JPEG over RTP knows no 4:4:4. 50 frames a second, so that FFmpeg soon knows what it sees.
_PIPELINE = (
    "( videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=64,height=48,framerate=50/1"
    " ! jpegenc ! rtpjpegpay name=pay0 )"
)


def serve(port: int) -> None:
    """Serve until killed."""
    gi = importlib.import_module("gi")
    gi.require_version("Gst", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    gst, rtsp, glib = (importlib.import_module(f"gi.repository.{name}") for name in ("Gst", "GstRtspServer", "GLib"))
    gst.init(None)
    factory = rtsp.RTSPMediaFactory()
    factory.set_launch(_PIPELINE)
    server = rtsp.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(port))
    server.get_mount_points().add_factory(PATH, factory)
    if not server.attach(None):
        sys.exit(f"port {port} is taken")
    print("ready", flush=True)  # noqa: T201 - what the test waits for
    glib.MainLoop().run()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
