# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks._fleet_player`: plays stations of the fleet benchmark until its standard input closes.

The first line of standard input is a `Cast` as JSON; each further line asks where the stations stand, and is answered
with one `Standing` as JSON. Started by `fleet`, as often as stations are to be spread over processes.
"""

import asyncio
import logging
import os
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from unittest import mock

import httpx
from pydantic import BaseModel

from benchmarks._fleet_station import Plant, PlayedStation, Traffic
from contracts.ids import StationAddress
from edge_agent.packages.trust import load_assignment_key

_CONNECTED_AT_ONCE: Final = 20
_STACK_BYTES: Final = 1024 * 1024


class Cast(BaseModel):
    """What to play. `first` … `first + count − 1`: numbers of the stations, of `of` in all."""

    first: int
    count: int
    of: int
    broker: tuple[str, str, str]
    central_url: str
    token: str
    root: str
    assignment_key: str
    folder: str
    downloads_at_once: int
    heartbeat_s: float
    part_s: float


class Standing(BaseModel):
    """Where the stations of a process stand. Times are monotonic s, which all processes of a machine share.

    `told`: of each station, by the number of its assignments, when it had verified and kept it; `active`: when it said
    that the package named there judges.
    """

    connected: int
    disconnects: int
    told: list[dict[int, float]]
    active: list[dict[int, tuple[float, str]]]
    faults: list[str]
    traffic: dict[str, int]
    cpu_s: float


def address_of(number: int) -> StationAddress:
    """Ten stations a line, ten lines a site."""
    return StationAddress(site=f"site-{number // 100}", line=f"line-{number // 10 % 10}", station=f"st-{number:04}")


@contextmanager
def counted_http(traffic: Traffic) -> Iterator[None]:
    """Count what HTTP clients fetch; and give them one TLS context, which plain HTTP never uses, instead of 2,000."""
    context = ssl.create_default_context()
    plain = httpx.Client

    class Counting(plain):  # type: ignore[misc, valid-type]
        def __init__(self, **given: Any) -> None:
            super().__init__(**{**given, "verify": context})

        def send(self, *given: Any, **options: Any) -> httpx.Response:
            response: httpx.Response = super().send(*given, **options)
            traffic.add(requests=1, http_bytes=int(response.headers.get("content-length", 0)))
            return response

    with mock.patch.object(httpx, "Client", Counting):
        yield


async def play(cast: Cast) -> None:
    """Until standard input closes."""
    loop, traffic = asyncio.get_running_loop(), Traffic()
    plant = Plant(
        loop=loop,
        login=cast.broker,
        central_url=cast.central_url,
        token=cast.token,
        root=cast.root.encode(),
        assignment_key=load_assignment_key(cast.assignment_key.encode()),
        folder=Path(cast.folder),
        turns=threading.Semaphore(cast.downloads_at_once),
        heartbeat_s=cast.heartbeat_s,
        part_s=cast.part_s,
        traffic=traffic,
    )
    stations: list[PlayedStation] = []
    with counted_http(traffic):
        numbers = range(cast.first, cast.first + cast.count)
        stations.extend(PlayedStation(plant, address_of(number)) for number in numbers)
        lives = []
        for index, station in enumerate(stations):
            lives.append(loop.create_task(station.live(index / len(stations))))
            if index % _CONNECTED_AT_ONCE == 0:
                await asyncio.sleep(0.05)
        tending = loop.create_task(_tend(stations))
        closed = asyncio.Event()
        threading.Thread(target=_answer, args=(loop, stations, traffic, closed), daemon=True).start()
        await closed.wait()
        for task in (*lives, tending):
            task.cancel()
        for station in stations:
            station.bus.stop()


async def _tend(stations: list[PlayedStation]) -> None:
    while True:
        for station in stations:
            station.bus.tend()
        await asyncio.sleep(1.0)


def _answer(
    loop: asyncio.AbstractEventLoop, stations: list[PlayedStation], traffic: Traffic, closed: asyncio.Event
) -> None:
    for _ in sys.stdin:
        print(_standing(stations, traffic).model_dump_json(), flush=True)
    loop.call_soon_threadsafe(closed.set)


def _standing(stations: list[PlayedStation], traffic: Traffic) -> Standing:
    cpu = os.times()
    return Standing(
        connected=sum(station.bus.is_connected for station in stations),
        disconnects=sum(station.bus.disconnects for station in stations),
        told=[dict(station.moments.told) for station in stations],
        active=[dict(station.moments.active) for station in stations],
        faults=[fault for station in stations for fault in tuple(station.moments.faults)],
        traffic=traffic.told(),
        cpu_s=cpu.user + cpu.system,
    )


def main() -> int:
    """Entry point."""
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr)
    threading.stack_size(_STACK_BYTES)
    asyncio.run(play(Cast.model_validate_json(sys.stdin.readline())))
    # Installers wait in threads of their own, and none holds anything that must be closed.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
