"""The log's routes: the memory's files and nothing else, bodies for auditors only, and what caches may keep."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from countersign.audit.errors import ConfigurationError
from countersign.audit.tiles import EntryTile, Tile, encode_entries
from countersign.service.auditors import is_auditor, new_credential
from countersign.service.log_routes import log_router
from unit.logs import Log, honest

LOG = honest()
SIZE = LOG.size
FILES = LOG.files()
PARTS = {"tile/1/000.p/2", "tile/0/002.p/130"}
FOR_EVER = "public, max-age=31536000, immutable"
Client = TestClient[Litestar]


def publish(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as of a deployment: the log, and secrets beside it."""
    folder = tmp_path_factory.mktemp("origin")
    publish(folder / "log", FILES)
    (folder / "log" / "lock").write_bytes(b"")
    (folder / "log" / "checkpoint.new").write_bytes(b"half")
    (folder / "log.pem").write_text("secret")
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[Client]:
    with TestClient(Litestar([log_router(folder / "log", folder / "auditors")], openapi_config=None)) as client:
        yield client


@pytest.fixture(scope="module")
def credential(folder: Path) -> str:
    return new_credential(folder / "auditors", "auditor", b"r" * 32)


def bearer(credential: str) -> dict[str, str]:
    return {"authorization": f"Bearer {credential}"}


def test_every_file_is_served_as_it_is(client: Client, credential: str) -> None:
    for path, data in FILES.items():
        answer = client.get(f"/log/{path}", headers=bearer(credential))
        assert (answer.status_code, answer.content) == (200, data), path
        kind = "text/plain; charset=utf-8" if path == "checkpoint" else "application/octet-stream"
        assert answer.headers["content-type"] == kind
        head = client.head(f"/log/{path}", headers=bearer(credential))
        assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(data)))
        assert {**head.headers} == {**answer.headers}


@pytest.mark.parametrize(
    ("path", "cached"),
    [
        ("checkpoint", "no-cache"),
        ("tile/0/000", FOR_EVER),
        (f"tile/1/000.p/{SIZE // 256}", FOR_EVER),
        ("tile/entries/000", "private, no-store"),
        ("tile/0/999", "no-store"),
    ],
)
def test_how_long_it_may_be_kept(client: Client, credential: str, path: str, cached: str) -> None:
    answer = client.get(f"/log/{path}", headers=bearer(credential))
    assert answer.headers["cache-control"] == cached
    assert ("authorization" in answer.headers.get("vary", "")) == ("entries" in path)
    if answer.status_code == 200:
        again = client.get(
            f"/log/{path}", headers={**bearer(credential), "if-none-match": f'"x", {answer.headers["etag"]}'}
        )
        assert (again.status_code, again.content, again.headers["cache-control"]) == (304, b"", cached)


@pytest.mark.parametrize("width", [1, 100, 255])
def test_what_is_full_by_now_is_cut_for_who_asks_for_less(client: Client, credential: str, width: int) -> None:
    answer = client.get(f"/log/{Tile(0, 1, width).path}")
    assert (answer.status_code, answer.content) == (200, FILES["tile/0/001"][: 32 * width])
    answer = client.get(f"/log/{EntryTile(1, width).path}", headers=bearer(credential))
    assert (answer.status_code, answer.content) == (200, encode_entries(LOG.bodies[256 : 256 + width]))


NOT_THERE = [
    "", "/", "/lock", "/checkpoint.new", "/checkpoint/x", "/log.pem", "/%2e%2e/log.pem", "/tile", "/tile/", "/tile/0",
    "/tile/0/", "/tile/0/0", "/tile/0/0000", "/tile/0/x000/000", "/tile/00/000", "/tile/0/000/", "/tile//0/000",
    "/tile/0%2F000", "/tile/0/%30%30%30", "/tile/0/000.p/0", "/tile/0/000.p/256", "/tile/0/000.p/01", "/tile/0/000.p/",
    "/tile/0/003", "/tile/2/000", "/tile/8/000", "/tile/-1/000", "/tile/0/-01", "/tile/%2e%2e/checkpoint",
    "/tile/%2e%2e/%2e%2e/log.pem", "/tile/0/000.new", "/tile/x/000", "/tile/0/٣٣٣", f"/tile/0/002.p/{SIZE % 256 + 1}",
    "/tile/0/002", "/tile/0/002.p/3", "/tile/0/" + "x999/" * 6 + "999", "/tile/0/" + "x000/" * 9 + "000",
]  # fmt: skip


@pytest.mark.parametrize("path", NOT_THERE)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_nothing_else_is_there(client: Client, credential: str, path: str, method: str) -> None:
    answer = client.request(method, f"http://testserver.local/log{path}", headers=bearer(credential))
    assert answer.status_code == 404


@pytest.mark.parametrize("path", ["003", "0", "x/000", "/000", "000.p/256", "002.p/3", "002", "%2e%2e/0/000"])
def test_nothing_else_is_there_for_auditors(client: Client, credential: str, path: str) -> None:
    assert client.get(f"/log/tile/entries/{path}", headers=bearer(credential)).status_code == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_done_to_it(client: Client, method: str) -> None:
    assert client.request(method, "/log/checkpoint").status_code == 405


REFUSED: list[tuple[str, dict[str, str]]] = [
    ("none", {}),
    ("empty", {"authorization": ""}),
    ("empty bearer", {"authorization": "Bearer "}),
    ("another", bearer("csa_" + "00" * 32)),
    ("a prefix", bearer(f"csa_{b'r'.hex() * 31}")),
    ("another scheme", {"authorization": f"Basic csa_{b'r'.hex() * 32}"}),
    ("no scheme", {"authorization": f"csa_{b'r'.hex() * 32}"}),
    ("the digest", bearer("digest")),
]


@pytest.mark.parametrize("headers", [case[1] for case in REFUSED], ids=[case[0] for case in REFUSED])
@pytest.mark.parametrize("path", ["tile/entries/000", "tile/entries/999", "tile/entries/nonsense"])
def test_bodies_are_for_auditors_and_all_others_get_one_answer(
    client: Client, credential: str, folder: Path, headers: dict[str, str], path: str
) -> None:
    if headers.get("authorization") == "Bearer digest":
        headers = bearer((folder / "auditors").read_text().split()[0])
    answer = client.get(f"/log/{path}", headers=headers)
    assert (answer.status_code, answer.content) == (401, b"For auditors.\n")
    assert answer.headers["www-authenticate"] == 'Bearer realm="log"'
    assert answer.headers["cache-control"] == "no-store"
    assert client.head(f"/log/{path}", headers=headers).status_code == 401


def test_a_credential_counts_as_long_as_its_line_is_there(folder: Path, client: Client, tmp_path: Path) -> None:
    file = tmp_path / "auditors"
    one, two = (new_credential(file, name, name.encode() * 32) for name in ("a", "b"))
    assert file.stat().st_mode & 0o777 == 0o600
    assert one not in file.read_text()
    assert (is_auditor(file, one), is_auditor(file, two), is_auditor(file, "")) == (True, True, False)
    file.write_text("\n".join(["# a comment", *file.read_text().splitlines()[1:]]) + "\n")
    assert (is_auditor(file, one), is_auditor(file, two)) == (False, True)
    file.unlink()
    assert not is_auditor(file, two)


@pytest.mark.parametrize("name", ["", "two words", "a\nb", "x" * 101])
def test_a_name_that_would_not_be_one_line_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be the name"):
        new_credential(tmp_path / "auditors", name, bytes(32))
    assert not (tmp_path / "auditors").exists()


def test_what_the_head_does_not_cover_yet_is_not_shown(tmp_path: Path) -> None:
    """A sealer was killed between the tiles and the head; after a failover others could take their place."""
    older = Log(LOG.bodies[:300])
    publish(tmp_path / "log", {**FILES, **older.files()})
    credential = new_credential(tmp_path / "auditors", "auditor", bytes(32))
    with TestClient(Litestar([log_router(tmp_path / "log", tmp_path / "auditors")], openapi_config=None)) as client:
        for path in FILES.keys() | older.files().keys():
            answer = client.get(f"/log/{path}", headers=bearer(credential))
            assert answer.status_code == (200 if path in older.files() else 404), path


def test_without_a_log_there_is_nothing(tmp_path: Path) -> None:
    with TestClient(Litestar([log_router(tmp_path / "log", tmp_path / "auditors")], openapi_config=None)) as client:
        answers = [client.get(f"/log/{path}").status_code for path in ("checkpoint", "tile/0/000", "tile/entries/000")]
    assert answers == [404, 404, 401]
