# SPDX-License-Identifier: Apache-2.0
"""The topic tree `sightline/v1/{site}/{line}/{station}/{channel}`; spelt here and nowhere else.

Beside it `sightline/v1/alarms/{route}`, on which central tells of alarms.
"""

from enum import StrEnum
from typing import Final

from contracts.ids import StationAddress

ROOT: Final = "sightline/v1"


class Channel(StrEnum):
    """Last level of a topic. Up: to central. Down: to the station. Beside: on the line."""

    REPORT = "report"  # up, QoS 1
    STATUS = "status"  # up, QoS 1, retained, last will
    SNAPSHOT = "snapshot"  # up, QoS 0
    PACKAGE_STATUS = "package-status"  # up, QoS 1, retained
    RECEIPT = "receipt"  # down, QoS 1
    ASSIGNMENT = "assignment"  # down, QoS 1, retained
    RECIPES = "recipes"  # down, QoS 1, retained
    COMMAND = "command"  # down, QoS 1
    FRAME = "frame"  # beside, QoS 0
    TRIGGER = "trigger"  # beside, QoS 1
    REJECT = "reject"  # beside, QoS 0


def topic(station: StationAddress, channel: Channel) -> str:
    """Topic of one channel of one station."""
    return f"{ROOT}/{station.site}/{station.line}/{station.station}/{channel.value}"


def alarm_topic(route: str) -> str:
    """Where central tells of alarms over one MQTT route. Four levels, so no station's topic can be mistaken for it."""
    return f"{ROOT}/alarms/{route}"


def every_station(channel: Channel) -> str:
    """Subscription filter for one channel of all stations."""
    return f"{ROOT}/+/+/+/{channel.value}"


def parse_topic(text: str) -> tuple[StationAddress, Channel]:
    """Read a topic back.

    Raises:
        ValueError: not one of ours; the message names the topic.
    """
    parts = text.split("/")
    if len(parts) != 6 or "/".join(parts[:2]) != ROOT:
        msg = f"topic: expected {ROOT}/site/line/station/channel, got {text!r}"
        raise ValueError(msg)
    return StationAddress(site=parts[2], line=parts[3], station=parts[4]), Channel(parts[5])
