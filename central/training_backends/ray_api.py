# SPDX-License-Identifier: Apache-2.0
"""The job API of a Ray cluster over plain HTTP: submit, status, stop, logs. Nothing of Ray is imported.

Knows no training. Paths and fields are those of Ray 2.x (`/api/jobs/`, version 4 of `/api/version`); fields that are
not known here are passed over. Used by `ray.py` alone.
"""

import json
from typing import Any, Final

import httpx
from pydantic import BaseModel, ValidationError

from central.learning_settings import RaySettings
from central.training_backends.seam import BackendAwayError, TrainingBackendError

_MOST_LOG_BYTES: Final = 8 * 1024 * 1024
_MOST_ANSWER_CHARACTERS: Final = 500
_REFUSALS: Final = (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN)


class RayJob(BaseModel):
    """What the cluster says of a job. `status`: PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED."""

    status: str
    message: str | None = None
    error_type: str | None = None
    driver_exit_code: int | None = None


class RayJobs:
    """One cluster's jobs. All methods raise BackendAwayError where nobody answers in time, or not sensibly."""

    def __init__(self, settings: RaySettings) -> None:
        self._settings: Final = settings

    def submit(self, submission_id: str, entrypoint: str, metadata: dict[str, str], *, is_driver: bool = False) -> None:
        """Hand a command over. A job of this id that is there already is left as it is.

        `is_driver`: it computes nothing itself and takes nothing; its workers do.

        Raises:
            TrainingBackendError: the cluster refuses it; the message is its own.
        """
        asked = self._settings
        body: dict[str, Any] = {"submission_id": submission_id, "entrypoint": entrypoint, "metadata": metadata}
        if not is_driver:
            body |= {"entrypoint_num_cpus": asked.cpus, "entrypoint_num_gpus": asked.gpus}
            if asked.memory_mb:
                body["entrypoint_memory"] = asked.memory_mb * 1024 * 1024
            if asked.resource:
                body["entrypoint_resources"] = {asked.resource: 1}
        answer = self._ask("POST", "/api/jobs/", body)
        if answer.is_success or self.find(submission_id) is not None:
            # A refusal of an id that is there already means: begun by a call whose answer never came.
            return
        words = f"Ray at {asked.address} refuses the job: {_last_line(answer.text)}"
        if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise BackendAwayError(words)
        raise TrainingBackendError(words)

    def find(self, submission_id: str) -> RayJob | None:
        """The job; None: the cluster knows none of this id."""
        answer = self._ask("GET", f"/api/jobs/{submission_id}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        self._raise_unless_good(answer)
        try:
            return RayJob.model_validate_json(answer.content)
        except ValidationError as error:
            raise BackendAwayError(f"{self._settings.address} answers, but not as Ray does: {error}") from error

    def stop(self, submission_id: str) -> None:
        """SIGTERM, and SIGKILL three seconds later, by the cluster itself. A job that is over or unknown stays so."""
        answer = self._ask("POST", f"/api/jobs/{submission_id}/stop")
        if answer.status_code != httpx.codes.NOT_FOUND:
            self._raise_unless_good(answer)

    def logs(self, submission_id: str) -> str | None:
        """All that the job has said; None: it cannot be had, as when its machine is gone, or is too much to fetch."""
        content = bytearray()
        try:
            with self._client() as http, http.stream("GET", f"/api/jobs/{submission_id}/logs") as answer:
                if not answer.is_success:
                    return None
                for chunk in answer.iter_bytes():
                    content += chunk
                    if len(content) > _MOST_LOG_BYTES:
                        return None
            said = json.loads(bytes(content))
        except httpx.HTTPError as error:
            raise self._away(error) from error
        except ValueError:
            return None
        text = said.get("logs") if isinstance(said, dict) else None
        return text if isinstance(text, str) else None

    def _client(self) -> httpx.Client:
        asked = self._settings
        headers = {"Authorization": f"Bearer {asked.token}"} if asked.token else {}
        # A proxy of the environment is for the world outside, not for the plant's own cluster.
        return httpx.Client(base_url=asked.address, headers=headers, timeout=asked.answer_timeout_s, trust_env=False)

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        try:
            with self._client() as http:
                answer = http.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise self._away(error) from error
        if answer.status_code in _REFUSALS:
            raise BackendAwayError(self._told_refusal(answer))
        return answer

    def _told_refusal(self, answer: httpx.Response) -> str:
        # The token itself is a secret, and so is not repeated.
        came = "ray.token is another one" if self._settings.token else "ray.token is not set"
        return (
            f"Ray at {self._settings.address} lets nobody in without its token: expected the one in its RAY_AUTH_TOKEN "
            f"or auth_token file, {came} ({answer.status_code} {_last_line(answer.text)}); set ray.token or "
            "SIGHTLINE_CENTRAL_RAY_TOKEN and start central again"
        )

    def _away(self, error: httpx.HTTPError) -> BackendAwayError:
        return BackendAwayError(f"Ray at {self._settings.address} does not answer ({type(error).__name__}: {error})")

    def _raise_unless_good(self, answer: httpx.Response) -> None:
        if not answer.is_success:
            what = f"{answer.status_code} {_last_line(answer.text)}"
            raise BackendAwayError(f"Ray at {self._settings.address} answers {what}")


def _last_line(text: str) -> str:
    """Of a traceback, what matters."""
    lines = [line.strip() for line in text.splitlines() if len(line.strip()) > 1]
    return (lines[-1] if lines else "nothing")[:_MOST_ANSWER_CHARACTERS]
