"""The service as the demonstration uses it: a server with its workers as a child, and its users, over HTTP."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from typing import Any

import httpx

from countersign.audit.errors import ConfigurationError

_PATIENCE = 60
"""Seconds that the server waits for a case to rest, and a client for the server."""
_ENDING = 60
NEEDED = ("litestar", "uvicorn", "procrastinate", "pwdlib", "jsonschema", "tomlkit")

Json = dict[str, Any]


class RefusedError(Exception):
    """The service refused something. `message` is what it said."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass
class Office:
    """The service at a URL, and the people who work with it, each with a session of their own."""

    url: str
    _clients: dict[str, httpx.Client] = field(default_factory=dict)

    def start(self, who: str, workflow: str, number: str, given: Mapping[str, Any]) -> Json:
        """Start a case, and return it as soon as it waits for people or has ended."""
        body = {"workflow": workflow, "case_number": number, "input": dict(given)}
        return self._ask(who, "POST", "/api/cases", body)

    def case(self, who: str, case: str) -> Json:
        """Return a case as it is now."""
        return self._ask(who, "GET", f"/api/cases/{case}")

    def shown(self, who: str, review: str) -> Json:
        """Return a review as it is shown to somebody: what they sign, and its digest."""
        return self._ask(who, "GET", f"/api/reviews/{review}")

    def sign(self, who: str, page: Json, decision: str, reason: str = "", values: Json | None = None) -> Json:
        """Sign a decision on a review as it was shown, with one's password, and return the case when it rests."""
        body = {
            "decision": decision,
            "reason": reason,
            "shown_digest": page["shown_digest"],
            "credential": {"username": who, "password": _password(who)},
            **({} if values is None else {"values": values}),
        }
        case: Json = self._ask(who, "POST", f"/api/reviews/{page['id']}/decisions", body)["now"]
        return case

    def close(self) -> None:
        """Close what is open to the server."""
        for client in self._clients.values():
            client.close()

    def _ask(self, who: str, method: str, path: str, body: Json | None = None) -> Json:
        said = self._client(who).request(method, path, json=body, headers={"prefer": f"wait={_PATIENCE}"})
        answer: Json = said.json()
        if said.is_error:
            raise RefusedError(said.status_code, str(answer["detail"]))
        return answer

    def _client(self, who: str) -> httpx.Client:
        if who not in self._clients:
            # A proxy that the environment names has no business on this machine's own loopback.
            client = self._clients[who] = httpx.Client(base_url=self.url, timeout=2 * _PATIENCE, trust_env=False)
            said = client.post("/api/sessions", json={"username": who, "password": _password(who)})
            if said.is_error:
                raise RefusedError(said.status_code, f"{who} cannot sign in: {said.json()['detail']}")
            client.cookies.clear()
            client.headers["authorization"] = f"Bearer {said.json()['token']}"
        return self._clients[who]


def check_installed() -> None:
    """Raise ConfigurationError, with the remedy, where what the service needs is not installed."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"The demonstration goes through the service, and what that needs is not installed ({missing[0]}).",
            remedy="Run: pip install '/path/to/this/clone[service,embedded]'",
        )


@contextmanager
def office() -> Iterator[Office]:
    """Serve the sample's workflows on a free port of loopback, as `countersign serve --try-out` does, until the end.

    Works in the database of this process's environment. Raises ConfigurationError, with what the server said, if it
    does not begin or does not end in order.
    """
    with ExitStack() as stack:
        samples = stack.enter_context(as_file(files("countersign.service.samples")))
        errors = stack.enter_context(tempfile.TemporaryFile("w+"))
        words = ["serve", "--try-out", "--config", str(samples), "--listen", "127.0.0.1:0"]
        process = subprocess.Popen(  # noqa: S603 - this program itself
            [sys.executable, "-P", "-m", f"{__package__}.demo_child", *words],
            stdin=subprocess.PIPE,  # when we are gone, however that comes, it ends
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,  # Ctrl-C is for the demonstration, which then ends its server
        )
        reader = threading.Thread(target=_drain, args=(process.stdout,), daemon=True)
        try:
            found = Office(_url_of(process))
            if not found.url:
                raise _failed("did not begin", errors)
            # What else it says is for somebody who tries it by hand; it must not wait for a reader.
            reader.start()
            stack.callback(found.close)
            yield found
        finally:
            process.terminate()
            try:
                code = process.wait(_ENDING)
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
            if reader.ident:
                reader.join()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
        if code:
            raise _failed(f"ended with {code}", errors)


def _url_of(process: subprocess.Popen[str]) -> str:
    """Return where the server says that it serves; nothing if it ended without."""
    for line in process.stdout or ():
        if line.startswith("Serving "):
            return line.split(" at ")[1].strip()
    return ""


def _drain(stream: Any) -> None:
    for _ in stream:
        pass


def _failed(how: str, errors: Any) -> ConfigurationError:
    errors.seek(0)
    return ConfigurationError(
        f"The demonstration's server {how}. It said:\n{errors.read().strip()}",
        remedy="Look at what it said; `countersign serve --try-out` starts the same.",
    )


def _password(who: str) -> str:
    from .api.try_out import password_of  # noqa: PLC0415 - after it is known that the service is installed

    return password_of(who)
