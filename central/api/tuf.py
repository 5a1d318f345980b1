# SPDX-License-Identifier: Apache-2.0
"""`/tuf`: the files of the package repository, as a station's TUF client asks for them.

Serves files that are whole by construction; signs nothing. The client verifies every byte, so nothing here needs to
be trusted, but the names are checked: no path leads out of the two folders.
"""

from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from fastapi.responses import FileResponse

from central.api.auth import ServicesOf, allow
from central.api.trainings import loop_of
from central.errors import NotFoundError
from contracts.ids import PackageId
from contracts.vocabulary import Role

router = APIRouter(prefix="/tuf", tags=["tuf"], dependencies=[Depends(allow(Role.VIEWER, station=True))])

_BINARY: dict[int | str, dict[str, Any]] = {200: {"content": {"application/octet-stream": {}}}}


@router.get("/metadata/{name}", summary="Signed metadata", response_class=FileResponse, responses=_BINARY)
def metadata(
    services: ServicesOf,
    name: Annotated[str, Path(pattern=r"^([1-9][0-9]{0,8}\.(root|targets|snapshot)|timestamp)\.json$")],
) -> FileResponse:
    """`timestamp.json`, and the other roles by version."""
    return _file(loop_of(services).repository.metadata_dir / name, "application/json", "no-cache")


@router.get("/targets/{package_id}/{file}", summary="A package's file", response_class=FileResponse, responses=_BINARY)
def target(
    services: ServicesOf,
    package_id: Annotated[PackageId, Path()],
    file: Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9._-]{0,100}$")],
) -> FileResponse:
    """Its content never changes: the package id is a digest of all of it."""
    folder = loop_of(services).repository.targets_dir / package_id
    return _file(folder / file, "application/octet-stream", "private, max-age=31536000, immutable")


def _file(path: FilePath, media_type: str, caching: str) -> FileResponse:
    if not path.is_file():
        raise NotFoundError(f"{path.name}: no such file in the package repository")
    return FileResponse(path, media_type=media_type, headers={"Cache-Control": caching})
