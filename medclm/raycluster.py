"""A Ray cluster seen from outside: its HTTP address, its access token, and its job interface.

Ray clusters started by ``ray start --head`` ask for a token wherever one exists (Ray >= 2.59), but Ray's own job
commands send it only with ``RAY_AUTH_MODE=token`` in the environment. Here it is sent whenever one is found.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medclm.errors import MedclmError, UsageError

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
"""Where ``ray start --head`` puts the dashboard, which is also the job server."""
ADDRESS_VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
"""Environment variables with an address, in Ray's order."""
TOKEN_REMEDY = (
    "copy the cluster's token (`ray get-auth-token` on its head node) into ~/.ray/auth_token, "
    "or set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"
)


def find_token() -> str | None:
    """The access token, looked up in Ray's order: RAY_AUTH_TOKEN, the file RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token.

    Returns:
        The token, or None when there is none or ``RAY_AUTH_MODE`` is set to something else than ``token``.

    Raises:
        UsageError: RAY_AUTH_TOKEN_PATH names a file that cannot be read.
    """
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        return None
    if token := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return token
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    file = Path(named) if named else Path.home() / ".ray" / "auth_token"
    try:
        return file.read_text().strip() or None
    except FileNotFoundError as error:
        if named:
            raise UsageError("RAY_AUTH_TOKEN_PATH names a file that does not exist", where=file) from error
        return None
    except OSError as error:
        raise UsageError("the Ray token cannot be read", where=file, got=error) from error


def resolve_address(address: str | None = None) -> str:
    """The http(s) address of a cluster's job server.

    Args:
        address: ``http(s)://host:port``, ``ray://host:port``, ``host:port`` of the head process, ``auto``, or None
            for RAY_API_SERVER_ADDRESS, RAY_ADDRESS, then :data:`DEFAULT_ADDRESS`.

    Raises:
        MedclmError: Ray cannot find the cluster behind a ``ray://``, ``host:port`` or ``auto`` address.
    """
    named = [os.environ[name] for name in ADDRESS_VARIABLES if os.environ.get(name)]
    chosen = address or (named[0] if named else DEFAULT_ADDRESS)
    if chosen.startswith(("http://", "https://")):
        return chosen.rstrip("/")
    from ray.dashboard.utils import get_address_for_submission_client

    hidden = {name: os.environ.pop(name) for name in ADDRESS_VARIABLES if name in os.environ}
    try:  # Ray lets these variables win over its argument
        return get_address_for_submission_client(chosen).rstrip("/")
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise MedclmError(
            "no Ray cluster was found", where=chosen, got=error, remedy=f"give --address, e.g. {DEFAULT_ADDRESS}"
        ) from error
    finally:
        os.environ.update(hidden)


@dataclass(frozen=True)
class Job:
    """A submitted job.

    Attributes:
        status: PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED.
        exit_code: 0 when it succeeded, the entrypoint's own code (or 1) when it ended otherwise, None before the end.
    """

    submission_id: str
    status: str
    exit_code: int | None
    entrypoint: str
    message: str

    @property
    def ended(self) -> bool:
        return self.exit_code is not None


class Cluster:
    """The HTTP job interface of one cluster.

    Args:
        address: see :func:`resolve_address`.
        timeout_s: for one request.
    """

    def __init__(self, address: str | None = None, timeout_s: float = 15.0) -> None:
        self.address = resolve_address(address)
        self.token = find_token()
        self.timeout_s = timeout_s

    def version(self) -> str:
        """Ray's version on the cluster."""
        return self._ask("GET", "/api/version")["ray_version"]

    def jobs(self) -> list[Job]:
        """Submitted jobs of the cluster, ended ones too."""
        entries = self._ask("GET", "/api/jobs/")
        return [_job(entry) for entry in entries if entry.get("submission_id")]

    def job(self, submission_id: str) -> Job:
        """One submitted job.

        Raises:
            MedclmError: the cluster does not know it.
        """
        return _job(self._ask("GET", f"/api/jobs/{submission_id}"))

    def logs(self, submission_id: str) -> str:
        """What a job has printed up to now."""
        return self._ask("GET", f"/api/jobs/{submission_id}/logs")["logs"] or ""

    def stop(self, submission_id: str) -> bool:
        """Asks a job to end; False when it had ended already."""
        return bool(self._ask("POST", f"/api/jobs/{submission_id}/stop")["stopped"])

    def lets_anyone_in(self) -> bool:
        """Whether the job interface answers a request without a token."""
        import requests

        return requests.get(f"{self.address}/api/jobs/", timeout=self.timeout_s).ok

    def _ask(self, method: str, path: str) -> Any:
        import requests

        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        try:
            answer = requests.request(method, self.address + path, headers=headers, timeout=self.timeout_s)
        except requests.RequestException as error:
            raise UnreachableError(
                "no Ray cluster answers",
                where=self.address,
                got=type(error).__name__,
                remedy="start one with `ray start --head`, or give --address or RAY_ADDRESS",
            ) from error
        if answer.status_code in (401, 403):
            raise self._refused(answer.status_code)
        if answer.status_code == 404:
            raise MedclmError("the cluster does not know this job", where=self.address + path, got=answer.text.strip())
        if not answer.ok:
            raise MedclmError("the cluster answers with an error", where=self.address + path, got=answer.text[-2000:])
        try:
            return answer.json()
        except ValueError as error:
            raise MedclmError(
                "this address is no Ray job server", where=self.address, remedy=f"e.g. {DEFAULT_ADDRESS}"
            ) from error

    def _refused(self, status: int) -> MedclmError:
        if self.token:
            return MedclmError(
                "the cluster refuses the Ray token", where=self.address, got=f"HTTP {status}", remedy=TOKEN_REMEDY
            )
        mode = os.environ.get("RAY_AUTH_MODE")
        return MedclmError(
            "the cluster asks for a Ray token, and none was found",
            where=self.address,
            expected="RAY_AUTH_TOKEN, the file RAY_AUTH_TOKEN_PATH, or ~/.ray/auth_token",
            got=f"RAY_AUTH_MODE={mode}" if mode else "none of them",
            remedy=TOKEN_REMEDY,
        )


class UnreachableError(MedclmError):
    """Nothing answers at the address."""


def _job(entry: dict[str, Any]) -> Job:
    status, code = entry["status"], entry.get("driver_exit_code")
    exit_code = {"SUCCEEDED": 0, "FAILED": code if code and code > 0 else 1, "STOPPED": 1}.get(status)
    return Job(entry["submission_id"], status, exit_code, entry["entrypoint"], entry.get("message") or "")
