# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks._drain PORT USER STATION EPOCH ROWS`: takes a backlog, answers with receipts, keeps the books.

A process of its own, as central is; the password comes by standard input. Of the backlog (reports of EPOCH, sequences
1 … ROWS) it keeps which came, which came again and which came out of order; of later epochs the moment of arrival, on
the machine's monotonic clock. Prints `ready` when it listens, and the books as one JSON line when its input closes.
Used by `offline_days`.
"""

import json
import sys
import time
from datetime import UTC, datetime

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from contracts.codec import encode
from contracts.commands import ReportsCommitted, SequenceRange
from contracts.ids import StationAddress
from contracts.reports import InspectionsReported
from contracts.topics import Channel, topic


class Books:
    """What came."""

    def __init__(self, epoch: int, rows: int) -> None:
        self.epoch = epoch
        self.seen = bytearray(rows + 1)
        self.again = 0
        self.out_of_order = 0
        self.unknown = 0
        self.last = 0
        self.live: dict[int, float] = {}

    def note(self, epoch: int, sequences: list[int], at_s: float) -> None:
        """One message."""
        for sequence in sequences:
            if epoch != self.epoch:
                self.live.setdefault(sequence, at_s)
            elif not 0 < sequence < len(self.seen):
                self.unknown += 1
            elif self.seen[sequence]:
                self.again += 1
            else:
                self.seen[sequence] = 1
                self.out_of_order += sequence < self.last
                self.last = max(self.last, sequence)

    def told(self) -> dict[str, object]:
        """As JSON."""
        came = sum(self.seen)
        return {
            "came": came,
            "missing": len(self.seen) - 1 - came,
            "again": self.again,
            "out_of_order": self.out_of_order,
            "unknown": self.unknown,
            "live": self.live,
        }


def ranges_of(sequences: list[int]) -> list[SequenceRange]:
    """Neighbours joined."""
    ranges: list[SequenceRange] = []
    start = before = sequences[0]
    for sequence in [*sequences[1:], -1]:
        if sequence != before + 1:
            ranges.append(SequenceRange(first=start, last=before))
            start = sequence
        before = sequence
    return ranges


def main(port: int, username: str, address: str, epoch: int, rows: int) -> int:
    """Answer until standard input closes."""
    station = StationAddress(**dict(zip(("site", "line", "station"), address.split("/"), strict=True)))
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="benchmark-drain")
    client.username_pw_set(username, sys.stdin.readline().strip())
    books = Books(epoch, rows)

    def answer(_client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        at_s = time.monotonic()
        told = InspectionsReported.model_validate_json(message.payload)
        sequences = [each.sequence for each in told.reports]
        books.note(told.epoch, sequences, at_s)
        receipt = ReportsCommitted(
            station=station, epoch=told.epoch, ranges=ranges_of(sequences), committed_at=datetime.now(UTC)
        )
        client.publish(topic(station, Channel.RECEIPT), encode(receipt), qos=1)

    client.on_message = answer
    client.on_subscribe = lambda *_: print("ready", flush=True)
    client.connect("127.0.0.1", port)
    client.subscribe(topic(station, Channel.REPORT), qos=1)
    client.loop_start()
    sys.stdin.read()
    client.loop_stop()
    print(json.dumps(books.told()))
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])))
