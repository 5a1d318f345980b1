# SPDX-License-Identifier: Apache-2.0
"""The embedded amqtt broker as a process: `python -m plant.processes.broker_child --port N --folder DIR`.

Speaks MQTT 3.1.1, keeps everything in memory and forgets it when it ends, retained messages included; the
processes around it are built to bear that. Loopback only, no anonymous clients. Started by `plant.processes.broker`.
"""

import argparse
import asyncio
import logging
import signal
import sys
from pathlib import Path

from amqtt.broker import Broker
from amqtt.errors import BrokerError
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from plant.processes.broker import LOOPBACK, USERNAME


async def serve(port: int, folder: Path) -> None:
    """Serve until SIGTERM or SIGINT."""
    password = (folder / "password").read_text(encoding="utf-8")
    passwords = folder / "amqtt.passwords"
    # Cheap parameters on purpose: the secret is random and 192 bits long, and stations reconnect in bursts.
    hasher = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=1024, parallelism=1),))
    passwords.write_text(f"{USERNAME}:{hasher.hash(password)}\n", encoding="utf-8")
    passwords.chmod(0o600)
    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"{LOOPBACK}:{port}"}},
            "plugins": {"amqtt.plugins.authentication.FileAuthPlugin": {"password_file": str(passwords)}},
        }
    )
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    await broker.start()
    await stopped.wait()
    # Clients that are still connected must not hold up the end of the plant.
    await asyncio.wait_for(broker.shutdown(), timeout=2)


def main() -> int:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(description="The embedded MQTT broker of a Sightline plant.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    # Every client that goes away without a farewell is an "error" to these two.
    logging.getLogger("transitions").setLevel(logging.CRITICAL)
    try:
        asyncio.run(serve(arguments.port, arguments.folder))
    except BrokerError as error:
        sys.stderr.write(f"broker: {error}: {error.__cause__}\n")
        return 1
    except TimeoutError:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
