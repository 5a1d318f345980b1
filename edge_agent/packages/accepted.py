# SPDX-License-Identifier: Apache-2.0
"""The last accepted assignment on disk: its number (protects against rollback) and the signed envelope itself.

Verifies the signature again at every start. Decides nothing; the package installer asks and writes.
"""

import json
import logging
from pathlib import Path

from securesystemslib.signer import Key

from edge_agent.packages.store import write_whole
from edge_agent.packages.trust import Accepted, PackageRefused, open_envelope

_log = logging.getLogger(__name__)


class AcceptedAssignment:
    """One small file, rewritten whole.

    `number` is the highest number ever accepted, 0 on a fresh station. `last` is None on a fresh station, or when
    the stored envelope does not verify any more; the number counts all the same. `damage` says so in words.
    """

    def __init__(self, path: Path, key: Key) -> None:
        self._path = path
        self.number = 0
        self.last: Accepted | None = None
        self.damage = ""
        try:
            content = json.loads(path.read_bytes())
            self.number = int(content["number"])
            self.last = open_envelope(str(content["envelope"]).encode(), key)
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, PackageRefused) as error:
            self.damage = f"{path.name}: the stored assignment cannot be used: {error}"
            _log.error("stored assignment unusable path=%s number=%d error=%s", path, self.number, error)

    def save(self, sealed: bytes, accepted: Accepted) -> None:
        """Note an accepted assignment; durable on return.

        Raises:
            OSError: not noted; the assignment must not be acted on.
        """
        content = {"number": accepted.assignment.number, "envelope": sealed.decode()}
        write_whole(self._path, json.dumps(content).encode())
        self.number = accepted.assignment.number
        self.last = accepted
        self.damage = ""
