# SPDX-License-Identifier: Apache-2.0
import pytest

from contracts.topics import Channel, alarm_topic, every_station, parse_topic


def test_the_topic_of_alarms_is_no_stations_topic() -> None:
    assert alarm_topic("night") == "sightline/v1/alarms/night"
    with pytest.raises(ValueError, match="expected sightline/v1/site/line/station/channel"):
        parse_topic(alarm_topic("night"))
    # A filter of six levels never matches one of four.
    assert len(alarm_topic("night").split("/")) < len(every_station(Channel.REPORT).split("/"))
