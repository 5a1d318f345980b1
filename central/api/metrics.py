# SPDX-License-Identifier: Apache-2.0
"""`GET /metrics`: the counters as Prometheus text (format 0.0.4), written plainly; needs a VIEWER token."""

from fastapi import APIRouter, Depends
from fastapi.responses import PlainTextResponse

from central.api.auth import ServicesOf, allow
from central.api.counting import samples
from contracts.vocabulary import Role

router = APIRouter(tags=["metrics"])

PREFIX = "sightline_central_"


@router.get(
    "/metrics",
    summary="Counters for Prometheus",
    dependencies=[Depends(allow(Role.VIEWER))],
    response_class=PlainTextResponse,
)
def metrics(services: ServicesOf) -> PlainTextResponse:
    """One `# TYPE` line per name, then its values."""
    lines: list[str] = []
    last = ""
    for name, kind, labels, value in samples(services):
        if name != last:
            lines.append(f"# TYPE {PREFIX}{name} {kind}")
            last = name
        shown = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        lines.append(f"{PREFIX}{name}{{{shown}}} {value:.17g}" if shown else f"{PREFIX}{name} {value:.17g}")
    return PlainTextResponse("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
