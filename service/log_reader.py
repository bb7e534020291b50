"""A log as it is published over HTTP (C2SP tlog-tiles), read with little trust: sizes and times are bounded.

No redirect is followed, nothing is decompressed, and the credential goes with requests for entries only.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING

from countersign.audit.entry import MAX_BODY
from countersign.audit.errors import ConfigurationError, MalformedError
from countersign.audit.memory import HEAD
from countersign.audit.merkle import HASH_BYTES
from countersign.audit.monitor import MissingError
from countersign.audit.note import MAX_NOTE
from countersign.audit.tiles import WIDTH, EntryTile, Tile, decode_entries, encode_entries

if TYPE_CHECKING:
    import httpx

TIMEOUT = 30.0
"""Seconds that a server may say nothing."""
PATIENCE = 300.0
"""Seconds for a whole answer, however busily it trickles."""
_MAX_TILE = WIDTH * HASH_BYTES
_MAX_ENTRIES = WIDTH * (2 + MAX_BODY)
_GONE = (404, 410)
_REFUSED = (401, 403)


def check_url(text: str, *, secret: bool = False) -> str:
    """Return the prefix under which a log is published, without a slash at its end.

    With `secret` a credential goes there, which nobody on the way may read. Raises ConfigurationError for what is no
    such prefix.
    """
    import httpx  # noqa: PLC0415 - not for whoever asks nobody: it takes long

    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError) as error:
        raise _no_url(text, str(error)) from error
    if url.scheme not in ("http", "https") or not url.host or url.query or url.fragment or url.userinfo:
        raise _no_url(text, "it has to be http or https, a host and a path")
    if secret and url.scheme != "https" and not _is_here(url.host):
        raise ConfigurationError(
            f"The credential would be sent to {text} unencrypted.", remedy="Use https, or leave --credential out."
        )
    return text.rstrip("/")


def _no_url(text: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"Not an address of a log: {text!r}: {why}.", remedy="Give the part before /checkpoint: https://HOST/log"
    )


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def http_client() -> httpx.Client:
    """Return a client that waits as long as is decent, and trusts what the operating system does."""
    import httpx  # noqa: PLC0415 - as above

    return httpx.Client(timeout=TIMEOUT)


class HttpLog:
    """A LogSource behind a prefix that `check_url` returned. The client, with its timeouts, is the caller's."""

    def __init__(
        self,
        client: httpx.Client,
        url: str,
        credential: str | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._url = url
        self._credential = credential
        self._monotonic = monotonic

    def head(self) -> bytes:
        """Return the signed head, a note."""
        return self._get(HEAD, MAX_NOTE, {"cache-control": "no-cache"})

    def tile(self, tile: Tile) -> bytes:
        """Return a tile of hashes, or the full one that begins with it, where it is full by now."""
        data = self._find(tile.path, _MAX_TILE) if tile.width < WIDTH else None
        return self._get(Tile(tile.level, tile.index).path, _MAX_TILE) if data is None else data

    def entries(self, tile: EntryTile) -> bytes:
        """Return an entry tile, if need be made of the full one."""
        headers = {"authorization": f"Bearer {self._credential}"} if self._credential else {}
        data = self._find(tile.path, _MAX_ENTRIES, headers) if tile.width < WIDTH else None
        if data is not None:
            return data
        full = EntryTile(tile.index)
        data = self._get(full.path, _MAX_ENTRIES, headers)
        try:
            return data if tile == full else encode_entries(decode_entries(full, data)[: tile.width])
        except MalformedError:
            return data  # found to be wrong by whoever judges it

    def _get(self, path: str, most: int, headers: dict[str, str] | None = None) -> bytes:
        data = self._find(path, most, headers)
        if data is None:
            raise MissingError(f"{self._url}/{path} is not there.")
        return data

    def _find(self, path: str, most: int, headers: dict[str, str] | None = None) -> bytes | None:
        """Return what is at a path, None where there is nothing. Raises MissingError where no answer can be used."""
        import httpx  # noqa: PLC0415 - as above

        url, headers = f"{self._url}/{path}", {"accept-encoding": "identity", **(headers or {})}
        try:
            with self._client.stream("GET", url, headers=headers, follow_redirects=False) as response:
                if response.status_code in _GONE:
                    return None
                if response.status_code in _REFUSED:
                    raise MissingError(f"{url} is refused ({response.status_code}): the credential is not accepted.")
                if response.status_code != HTTPStatus.OK:
                    raise MissingError(f"{url} answers {response.status_code}; only 200 counts, and no redirect.")
                if response.headers.get("content-encoding", "identity") != "identity":
                    raise MissingError(f"{url} answers in an encoding that was not asked for.")
                return self._body(response, url, most)
        except httpx.HTTPError as error:
            raise MissingError(f"{url} cannot be read: {str(error) or type(error).__name__}.") from error

    def _body(self, response: httpx.Response, url: str, most: int) -> bytes:
        end, data = self._monotonic() + PATIENCE, bytearray()
        for part in response.iter_raw():
            data += part
            if len(data) > most:
                raise MissingError(f"{url} answers with more than {most} bytes.")
            if self._monotonic() > end:
                raise MissingError(f"{url} takes more than {PATIENCE:.0f} seconds to answer.")
        return bytes(data)
