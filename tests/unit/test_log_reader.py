"""Reading a log over HTTP: what a server may answer, and how little it can do to who reads."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator

import httpx
import pytest

from countersign.audit.errors import ConfigurationError
from countersign.audit.monitor import MissingError, monitor
from countersign.audit.tiles import EntryTile, Tile, encode_entries
from countersign.audit.treehead import LogTrust
from countersign.service.log_reader import PATIENCE, HttpLog, check_url
from unit.heads import log_key
from unit.logs import Log, honest

URL = "https://log.invalid/log"
CREDENTIAL = "csa_secret"
LOG = honest()
FILES = LOG.files()
Answer = Callable[[httpx.Request], httpx.Response]


def reader(
    answer: Answer, credential: str | None = CREDENTIAL, monotonic: Callable[[], float] = lambda: 0.0
) -> HttpLog:
    return HttpLog(httpx.Client(transport=httpx.MockTransport(answer)), URL, credential, monotonic=monotonic)


def serving(files: dict[str, bytes], seen: list[httpx.Request]) -> Answer:
    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        data = files.get(str(request.url).removeprefix(f"{URL}/"))
        return httpx.Response(404) if data is None else httpx.Response(200, stream=httpx.ByteStream(data))

    return answer


def test_a_log_is_read_and_the_credential_goes_with_bodies_only() -> None:
    seen: list[httpx.Request] = []
    outcome = monitor(reader(serving(FILES, seen)), LogTrust((log_key(),)), entries=True)
    assert outcome.report.verdict == "passed"
    assert {str(request.url) for request in seen} == {f"{URL}/{path}" for path in FILES}
    for request in seen:
        with_it = request.headers.get("authorization") == f"Bearer {CREDENTIAL}"
        assert with_it == ("/entries/" in str(request.url))
        assert request.headers["accept-encoding"] == "identity"


def test_a_narrow_tile_that_is_gone_is_taken_from_the_full_one() -> None:
    """The log grew between its head and its tiles, and keeps no narrower versions."""
    grown = Log(LOG.bodies[:512]).files()
    older = Log(LOG.bodies[:300])
    seen: list[httpx.Request] = []
    source = reader(
        serving({**grown, "checkpoint": older.note().encode(), "tile/1/000.p/1": FILES["tile/0/000"]}, seen)
    )
    assert source.tile(Tile(0, 1, 44))[: 44 * 32] == FILES["tile/0/001"][: 44 * 32]
    assert source.entries(EntryTile(1, 44)) == encode_entries(LOG.bodies[256:300])
    assert [request.url.path.removeprefix("/log/") for request in seen] == [
        "tile/0/001.p/44", "tile/0/001", "tile/entries/001.p/44", "tile/entries/001",
    ]  # fmt: skip


def test_a_full_entry_tile_that_is_none_is_handed_on_to_be_judged() -> None:
    source = reader(serving({"tile/entries/001": b"\xff"}, []))
    assert source.entries(EntryTile(1, 44)) == b"\xff"


def test_what_is_nowhere_is_missing() -> None:
    source = reader(serving({}, []))
    for read, what in (
        (source.head, "checkpoint"),
        (lambda: source.tile(Tile(0, 1, 44)), "tile/0/001"),
        (lambda: source.entries(EntryTile(0)), "tile/entries/000"),
    ):
        with pytest.raises(MissingError, match=f"{URL}/{what} is not there"):
            read()


def failing(error: Exception) -> Answer:
    def answer(request: httpx.Request) -> httpx.Response:
        raise error

    return answer


class Endless(httpx.SyncByteStream):
    """Bytes without end: a reader that would take them all never comes back."""

    def __init__(self) -> None:
        self.read = 0

    def __iter__(self) -> Iterator[bytes]:
        while True:
            self.read += 4096
            yield bytes(4096)


class Broken(httpx.SyncByteStream):
    def __iter__(self) -> Iterator[bytes]:
        yield FILES["checkpoint"][:20]
        raise httpx.RemoteProtocolError("peer closed connection")


GZIP = httpx.Response(200, content=gzip.compress(FILES["checkpoint"]), headers={"content-encoding": "gzip"})
UNUSABLE: list[tuple[str, Answer, str]] = [
    ("a redirect", lambda _: httpx.Response(302, headers={"location": "https://elsewhere.invalid/"}), "answers 302"),
    ("a permanent redirect", lambda _: httpx.Response(308, headers={"location": "/log/checkpoint"}), "no redirect"),
    ("no content", lambda _: httpx.Response(204), "answers 204"),
    ("a part", lambda _: httpx.Response(206, content=FILES["checkpoint"]), "answers 206"),
    ("not modified", lambda _: httpx.Response(304), "answers 304"),
    ("an error", lambda _: httpx.Response(500, content=FILES["checkpoint"]), "answers 500"),
    ("busy", lambda _: httpx.Response(503), "answers 503"),
    ("unauthorized", lambda _: httpx.Response(401), "credential is not accepted"),
    ("forbidden", lambda _: httpx.Response(403), "credential is not accepted"),
    ("compressed", lambda _: GZIP, "encoding that was not asked for"),
    ("without end", lambda _: httpx.Response(200, stream=Endless()), "more than 1000000 bytes"),
    ("broken off", lambda _: httpx.Response(200, stream=Broken()), "peer closed connection"),
    ("no connection", failing(httpx.ConnectError("refused")), "cannot be read: refused"),
    ("silence", failing(httpx.ReadTimeout("")), "cannot be read: ReadTimeout"),
    ("another protocol", failing(httpx.RemoteProtocolError("illegal")), "cannot be read: illegal"),
]


@pytest.mark.parametrize(("answer", "says"), [case[1:] for case in UNUSABLE], ids=[case[0] for case in UNUSABLE])
def test_what_cannot_be_used_is_missing_and_no_more_than_asked(answer: Answer, says: str) -> None:
    asked = 0

    def counting(request: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        return answer(request)

    with pytest.raises(MissingError, match=says):
        reader(counting).head()
    assert asked == 1


@pytest.mark.parametrize(
    ("read", "most"),
    [
        (lambda source: source.head(), 1_000_000),
        (lambda source: source.tile(Tile(0, 0)), 8_192),
        (lambda source: source.tile(Tile(0, 0, 3)), 8_192),
        (lambda source: source.entries(EntryTile(0)), 256 * 65_537),
    ],
)
def test_no_more_is_read_than_there_can_be(read: Callable[[HttpLog], bytes], most: int) -> None:
    stream = Endless()
    with pytest.raises(MissingError, match=f"more than {most} bytes"):
        read(reader(lambda _: httpx.Response(200, stream=stream)))
    assert stream.read <= most + 4096


def test_the_largest_entry_tile_is_read() -> None:
    data = encode_entries([bytes(65_535)] * 256)
    assert reader(serving({"tile/entries/000": data}, [])).entries(EntryTile(0)) == data


def test_an_answer_that_trickles_for_ever_is_given_up() -> None:
    clock = iter([0.0, PATIENCE - 1, PATIENCE + 1])
    stream = Endless()
    with pytest.raises(MissingError, match="takes more than 300 seconds"):
        reader(lambda _: httpx.Response(200, stream=stream), monotonic=lambda: next(clock)).head()


@pytest.mark.parametrize("url", ["https://a.invalid/log", "https://a.invalid/log/", "http://[::1]:8460/x", "http://a"])
def test_an_address_is_taken_as_a_prefix(url: str) -> None:
    assert check_url(url) == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    ["", "log", "/log", "ftp://a/log", "file:///log", "https://", "https:///log", "https://a/log?x=1", "https://a/log#x",
     "https://user:secret@a/log", "https://a:port/log", "http://[::1", "https://a\n/log"],
)  # fmt: skip
def test_what_is_no_address_of_a_log_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="Not an address of a log"):
        check_url(url)


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("https://a.invalid/log", True),
        ("http://127.0.0.1:8460/log", True),
        ("http://[::1]:8460/log", True),
        ("http://localhost/log", True),
        ("http://a.invalid/log", False),
        ("http://10.0.0.1/log", False),
        ("http://localhost.a.invalid/log", False),
    ],
)
def test_a_credential_is_sent_encrypted_or_not_at_all(url: str, *, good: bool) -> None:
    assert check_url(url) == url
    if good:
        assert check_url(url, secret=True) == url
    else:
        with pytest.raises(ConfigurationError, match="unencrypted"):
            check_url(url, secret=True)
