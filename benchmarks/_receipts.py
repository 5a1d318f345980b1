# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks._receipts PORT USER STATION`: answers a station's reports with receipts, as central does.

A process of its own, so that what it costs is not taken for the station's; the password comes by standard input. It
keeps the outbox short, as a plant's central would. When its input closes it prints, as one JSON line, the stage times
that the reports brought, by sequence, and ends. Used by `station`.
"""

import json
import sys
from datetime import UTC, datetime

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from contracts.codec import encode
from contracts.commands import ReportsCommitted, SequenceRange
from contracts.ids import StationAddress
from contracts.reports import InspectionsReported
from contracts.topics import Channel, topic


def main(port: int, username: str, address: str) -> int:
    """Answer until standard input closes."""
    station = StationAddress(**dict(zip(("site", "line", "station"), address.split("/"), strict=True)))
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"benchmark-receipts-{station.station}")
    client.username_pw_set(username, sys.stdin.readline().strip())
    seen: dict[int, tuple[float | None, ...]] = {}

    def answer(_client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        told = InspectionsReported.model_validate_json(message.payload)
        ranges = [SequenceRange(first=each.sequence, last=each.sequence) for each in told.reports]
        receipt = ReportsCommitted(station=station, epoch=told.epoch, ranges=ranges, committed_at=datetime.now(UTC))
        for each in told.reports:
            if (took := each.latency) is not None:
                seen[each.sequence] = (
                    took.prepare_ms, took.infer_ms, took.reject_ms, took.capture_ms, took.decide_ms, took.actuate_ms,
                )  # fmt: skip
        client.publish(topic(station, Channel.RECEIPT), encode(receipt), qos=1)

    client.on_message = answer

    def ask(connected: mqtt.Client, _data: object, _flags: object, _reason: object, _properties: object) -> None:
        # At every connect: nothing is kept for a client that was away.
        connected.subscribe(topic(station, Channel.REPORT), qos=1)

    client.on_connect = ask
    client.connect("127.0.0.1", port)
    client.loop_start()
    sys.stdin.read()
    client.loop_stop()
    print(json.dumps(seen))
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
