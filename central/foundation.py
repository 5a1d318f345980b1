# SPDX-License-Identifier: Apache-2.0
"""What every service and every route of central may hold on to, and how more of them are plugged in.

`central.app` builds one `Services` a process; it stands at `app.state.services` for the routes. Two optional modules
are looked up by name when the process is built, so that the ground floor runs and is tested without them:

- `central.services.trainings.learning_services.build_services(base: Services) -> list[Service]` builds auditing,
  watching, learning, promoting and rollouts. The worker ticks what it returns. What routes need of them it puts into
  `base.loop` (one object of its own type; routes cast it back). When that object has a method
  `charts(station: str | None, now: datetime) -> list[ChartView]`, `GET /quality/charts` answers with it.
- `central.api.learning_routers.build_routers() -> list[APIRouter]` gives the routers beside the ground floor's.
  They are mounted under `/api/v1`.

`services.evidence` opens an audit (AWAITING_EVIDENCE → OPEN) once its crop is stored, and ends it as LOST when the
station says that the picture is gone; drawing audits, asking for their pictures and giving up on silence is
auditing's. What should run on a station is written to `Station.assignment_number`, `.assigned` and
`.assignment_expires_at`; `GET /stations` shows it from there.

A route declares who may call it with `dependencies=[Depends(allow(Role.ENGINEER))]` (`central.api.auth`), reads
its `Services` with `central.api.auth.ServicesOf`, and raises `central.errors.RequestError`s.
"""

import random
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from central.clock import Clock
from central.messaging.gateway import Gateway
from central.settings import CentralSettings
from central.store.blobs import Blobs
from central.store.database import Database

if TYPE_CHECKING:
    from central.services.evidence import EvidenceService
    from central.services.ingest import IngestService
    from central.services.worker import Worker


@dataclass
class Services:
    """The parts of one central process. `rng` draws audits and shuffles queues; tests seed it."""

    settings: CentralSettings
    clock: Clock
    database: Database
    blobs: Blobs
    gateway: Gateway
    ingest: "IngestService"
    evidence: "EvidenceService"
    started_at: datetime
    rng: random.Random = field(default_factory=random.SystemRandom)
    # Set once all services are built.
    worker: "Worker | None" = None
    # Whatever `learning_services.build_services` leaves here for its own routes.
    loop: Any = None
