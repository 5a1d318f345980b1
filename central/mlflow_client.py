# SPDX-License-Identifier: Apache-2.0
"""The few calls of MLflow's REST API that an export needs. Knows nothing of trainings; called by `mlflow_export`.

Spoken with httpx and not with MLflow's own client: nothing of MLflow is loaded, so no version of it has to fit beside
ours, and none of its usage telemetry can be sent (ADR 0048). API: mlflow.org/docs/latest/rest-api.html, version 2.0,
which MLflow 2 and 3 answer.
"""

from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import httpx

from central.errors import CentralError
from central.mlflow_runs import Metric

_API: Final = "/api/2.0/mlflow"
# Of one request, by MLflow's own limits.
_MOST_METRICS: Final = 1_000
_MOST_PARAMS: Final = 100
_MOST_TAGS: Final = 100
_RUNS_A_PAGE: Final = 500
_MISSING: Final = "RESOURCE_DOES_NOT_EXIST"
_LONGEST_WORDS: Final = 300


class MlflowError(CentralError):
    """The tracking server cannot be used; says what was expected, what came and what to do."""


class MlflowClient:
    """One tracking server. A context manager."""

    def __init__(self, url: str, *, token: str | None = None, timeout_s: float = 30.0) -> None:
        """`url`: http://HOST:PORT, a name and password within it where the server asks for them; `token`: a bearer's.

        Raises:
            MlflowError: no such URL.
        """
        try:
            parts = urlsplit(url)
            has_host = bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:
            parts, has_host = urlsplit(""), False
        if parts.scheme not in ("http", "https") or not has_host or parts.query or parts.fragment:
            shown = url if "@" not in url else "one with a login in it"
            raise MlflowError(
                f"--to: expected http://HOST:PORT or https://HOST of an MLflow tracking server, got {shown!r}; for a "
                "folder or a database start one before it: `mlflow server --backend-store-uri URI`"
            )
        # Never with the login: it stands in messages.
        self.url: Final = f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.Client(base_url=url.rstrip("/"), timeout=timeout_s, headers=headers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close its connections."""
        self._client.close()

    def find_experiment(self, name: str) -> str | None:
        """Its id; None: there is none.

        Raises:
            MlflowError: it is in the bin there, or nobody answers.
        """
        answer = self._send("GET", "/experiments/get-by-name", {"experiment_name": name}, missing_is_none=True)
        if answer is None:
            return None
        found = self._within(answer, "experiment")
        if found.get("lifecycle_stage") == "deleted":
            raise MlflowError(
                f"{self.url}: experiment {name!r} was deleted there; restore it (`mlflow experiments restore -x "
                f"{found.get('experiment_id')}`) or remove it for good (`mlflow gc`)"
            )
        return str(found["experiment_id"])

    def create_experiment(self, name: str) -> str:
        """Its id."""
        return str(self._answer("POST", "/experiments/create", {"name": name})["experiment_id"])

    def find_runs(self, experiment_id: str, having_tag: str) -> Iterator[dict[str, Any]]:
        """The `info` and `data` of every live run that has a tag."""
        token: str | None = None
        while True:
            wanted = {
                "experiment_ids": [experiment_id],
                "filter": f"tags.`{having_tag}` != ''",
                "max_results": _RUNS_A_PAGE,
                "run_view_type": "ACTIVE_ONLY",
                **({"page_token": token} if token else {}),
            }
            answer = self._answer("POST", "/runs/search", wanted)
            yield from answer.get("runs", [])
            token = answer.get("next_page_token")
            if not token:
                return

    def create_run(self, experiment_id: str, name: str, start_ms: int, tags: Mapping[str, str]) -> str:
        """Its id."""
        body = {
            "experiment_id": experiment_id, "run_name": name, "start_time": start_ms, "tags": _pairs(tags),
        }  # fmt: skip
        return str(self._within(self._within(self._answer("POST", "/runs/create", body), "run"), "info")["run_id"])

    def update_run(self, run_id: str, status: str, end_ms: int | None) -> None:
        """Its status, and when it ended."""
        body = {"run_id": run_id, "status": status, **({"end_time": end_ms} if end_ms is not None else {})}
        self._answer("POST", "/runs/update", body)

    def log(self, run_id: str, params: Mapping[str, str], metrics: Sequence[Metric], tags: Mapping[str, str]) -> None:
        """In as few requests as the server takes."""
        values = [
            {"key": each.key, "value": each.value, "timestamp": each.at_ms, "step": each.step} for each in metrics
        ]
        kinds: tuple[tuple[str, list[dict[str, Any]], int], ...] = (
            ("params", _pairs(params), _MOST_PARAMS),
            ("metrics", values, _MOST_METRICS),
            ("tags", _pairs(tags), _MOST_TAGS),
        )
        for kind, items, most in kinds:
            for first in range(0, len(items), most):
                self._answer("POST", "/runs/log-batch", {"run_id": run_id, kind: items[first : first + most]})

    def _answer(self, method: str, path: str, said: Mapping[str, Any]) -> dict[str, Any]:
        return self._send(method, path, said) or {}

    def _send(
        self, method: str, path: str, said: Mapping[str, Any], *, missing_is_none: bool = False
    ) -> dict[str, Any] | None:
        """The answer's JSON; None: what was asked for is not there, where that is an answer.

        Raises:
            MlflowError: no answer, a refusal, or a server that is no MLflow.
        """
        is_asking = method == "GET"
        try:
            answer = self._client.request(
                method, f"{_API}{path}", params=said if is_asking else None, json=None if is_asking else said
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            words = " ".join(str(error).split()) or type(error).__name__
            raise MlflowError(f"{self.url}: no answer ({words}); is the MLflow tracking server up?") from error
        try:
            told = answer.json()
        except ValueError:
            told = None
        if answer.is_success and isinstance(told, dict):
            return told
        if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise MlflowError(
                f"{self.url}: refused ({answer.status_code}); give a login that may write in the URL, or --token-file"
            )
        if not isinstance(told, dict) or "error_code" not in told:
            raise MlflowError(
                f"{self.url}: expected an MLflow tracking server, got an answer of another kind "
                f"({answer.status_code} to {path}); name the address that `mlflow server` printed"
            )
        if missing_is_none and told["error_code"] == _MISSING:
            return None
        raise MlflowError(f"{self.url}: {told['error_code']}: {str(told.get('message', ''))[:_LONGEST_WORDS]}")

    def _within(self, answer: Mapping[str, Any], name: str) -> dict[str, Any]:
        found = answer.get(name)
        if not isinstance(found, dict):
            raise MlflowError(
                f"{self.url}: expected an answer with {name!r}, got {sorted(answer)}; is it MLflow 2 or 3?"
            )
        return found


def _pairs(given: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value} for key, value in given.items()]
