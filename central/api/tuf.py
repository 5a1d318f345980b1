# SPDX-License-Identifier: Apache-2.0
"""`/tuf`: the files of the package repository, as a station's TUF client asks for them; ranges of them too.

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
    name: Annotated[
        str,
        Path(pattern=r"^([1-9][0-9]{0,8}\.(root|targets|snapshot|product-[a-z0-9][a-z0-9_-]{0,62})|timestamp)\.json$"),
    ],
) -> FileResponse:
    """`timestamp.json`, and the other roles by version."""
    return _file(loop_of(services).repository.metadata_dir / name, "application/json", "no-cache")


@router.get("/targets/{package_id}/{file}", summary="A package's file", response_class=FileResponse, responses=_BINARY)
def target(
    services: ServicesOf,
    package_id: Annotated[PackageId, Path()],
    file: Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9._-]{0,100}$")],
) -> FileResponse:
    """Its content never changes: the package id is a digest of all of it. A `Range` is answered with 206 and that part.

    `ETag` is made of the names, so that several centrals behind one address, or one that was restored, mean the same
    by it, and a download goes on at any of them.
    """
    folder = loop_of(services).repository.targets_dir / package_id
    etag = f'"{package_id}/{file}"'
    return _file(folder / file, "application/octet-stream", "private, max-age=31536000, immutable", etag=etag)


@router.get(
    "/targets/{product}/{package_id}/{file}",
    summary="A package's file, by the name its product's role gives it",
    response_class=FileResponse,
    responses=_BINARY,
)
def product_target(
    services: ServicesOf,
    product: Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")],
    package_id: Annotated[PackageId, Path()],
    file: Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9._-]{0,100}$")],
) -> FileResponse:
    """The same file: that the package is the product's is what the signed metadata says, not the address."""
    del product
    return target(services, package_id, file)


def _file(path: FilePath, media_type: str, caching: str, *, etag: str | None = None) -> FileResponse:
    if not path.is_file():
        raise NotFoundError(f"{path.name}: no such file in the package repository")
    headers = {"Cache-Control": caching} | ({} if etag is None else {"ETag": etag})
    return FileResponse(path, media_type=media_type, headers=headers)
