# SPDX-License-Identifier: Apache-2.0
"""API tokens: make, list, revoke, find. The secret leaves `create` once and is never stored. Used by CLI and API."""

import hashlib
import secrets
from datetime import datetime

from sqlmodel import Session, col, select

from central.errors import ConflictError, NotFoundError
from central.store.tables import Token
from contracts.vocabulary import Role


def create(session: Session, name: str, role: Role, now: datetime) -> str:
    """Make a token and give its secret.

    Raises:
        ConflictError: the name is taken; revoke that one or choose another.
    """
    if session.exec(select(Token).where(Token.name == name)).first() is not None:
        raise ConflictError(f"token {name!r} exists already; revoke it or choose another name")
    secret = "sl_" + secrets.token_urlsafe(32)
    session.add(Token(name=name, role=role, sha256=_digest(secret), created_at=now))
    return secret


def list_all(session: Session) -> list[Token]:
    """Newest first, revoked ones too."""
    return list(session.exec(select(Token).order_by(col(Token.id).desc())).all())


def revoke(session: Session, name: str, now: datetime) -> None:
    """End a token. The name becomes free again: the revoked one keeps it with its number behind it.

    Raises:
        NotFoundError: no such token in force.
    """
    token = session.exec(select(Token).where(Token.name == name, col(Token.revoked_at).is_(None))).first()
    if token is None:
        raise NotFoundError(f"no token {name!r} in force")
    token.revoked_at = now
    token.name = f"{name}~{token.id}"
    session.add(token)


def find_by_secret(session: Session, secret: str) -> Token | None:
    """The token in force with this secret."""
    return session.exec(select(Token).where(Token.sha256 == _digest(secret), col(Token.revoked_at).is_(None))).first()


def _digest(secret: str) -> str:
    # The secret is 256 random bits: a plain digest cannot be guessed back, and a slow one would cost every request.
    return hashlib.sha256(secret.encode()).hexdigest()
