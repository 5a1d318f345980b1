# SPDX-License-Identifier: Apache-2.0
"""`/reports/shift.pdf` and `.csv`: what a shift made, to be signed. `central/reports` says what is in it."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from central.api.auth import Caller, CallerOf, ServicesOf, allow
from central.api.health import program_version
from central.api.written import WrittenDay, WrittenTime
from central.reports.shift_content import Cost, ShiftReport, gather
from central.reports.shift_csv import to_csv
from central.reports.shift_period import DEFAULT_SHIFTS, Asked
from contracts.ids import Name
from contracts.vocabulary import Role

router = APIRouter(prefix="/reports", tags=["reports"], dependencies=[Depends(allow(Role.VIEWER))])


def _asked(
    *,
    at: Annotated[str | None, Query(max_length=200, description="site, site/line or site/line/station")] = None,
    product: Name | None = None,
    day: Annotated[WrittenDay | None, Query(description="on which the shift begins, by the plant's clock")] = None,
    shift: Annotated[str | None, Query(max_length=5, description="HH:MM at which it begins")] = None,
    since: WrittenTime | None = None,
    until: WrittenTime | None = None,
    shifts: Annotated[
        str, Query(max_length=100, description="when shifts begin, by the clock of time_zone")
    ] = DEFAULT_SHIFTS,
    time_zone: Annotated[str, Query(max_length=64, description="name of the IANA database")] = "UTC",
) -> Asked:
    return Asked(at, product, day, shift, since, until, shifts, time_zone)


def _report(
    services: ServicesOf,
    caller: CallerOf,
    asked: Annotated[Asked, Depends(_asked)],
    *,
    by: Annotated[str, Query(max_length=80, description="who makes it; default: the token's name")] = "",
    cost_of_part: Annotated[float | None, Query(ge=0, le=1e9)] = None,
    currency: Annotated[str, Query(max_length=8)] = "",
) -> ShiftReport:
    with services.database.read() as session:
        return gather(
            session,
            asked,
            services.clock.now(),
            by=_maker(by, caller),
            version=program_version(),
            cost=Cost(cost_of_part, currency),
        )


ReportOf = Annotated[ShiftReport, Depends(_report)]


@router.get(
    "/shift.pdf",
    summary="Shift report as PDF",
    response_class=Response,
    responses={200: {"content": {"application/pdf": {}}, "description": "A4, to be signed"}},
)
def shift_pdf(report: ReportOf) -> Response:
    """A shift by `day` and `shift`, or `since` and `until` (7 days at most); neither: the shift that ended last.

    One that is still under way is marked as preliminary.
    """
    from central.reports.shift_pdf import to_pdf  # noqa: PLC0415 - its library is needed for this alone

    return Response(to_pdf(report), media_type="application/pdf", headers=_named(report, "pdf"))


@router.get(
    "/shift.csv",
    summary="Shift report as CSV",
    response_class=Response,
    responses={200: {"content": {"text/csv": {}}, "description": "One statement a row"}},
)
def shift_csv(report: ReportOf) -> Response:
    """The same as one table, for a spreadsheet; text that it would take for a formula is disarmed."""
    return Response(to_csv(report), media_type="text/csv; charset=utf-8", headers=_named(report, "csv"))


def _maker(by: str, caller: Caller) -> str:
    said = " ".join(by.split())
    return f"{said} (token {caller.name})" if said else caller.name


def _named(report: ShiftReport, ending: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{report.file_name}.{ending}"'}
