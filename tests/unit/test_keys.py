"""Keys: files only their owner reads, public keys under which a signature proves something, trust from outside."""

from __future__ import annotations

import base64
import hashlib
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from countersign.audit.body import parse_body
from countersign.audit.canonical import canonical
from countersign.audit.entry import EntryDraft, check_origin
from countersign.audit.errors import ConfigurationError, MalformedError
from countersign.audit.keyfolder import KeyFolder
from countersign.audit.keys import FileKey, IntroducedKey, Trust, introduced, introduction
from countersign.audit.note import Algorithm, VerifierKey
from unit.samples import DEPLOYMENT, GRAPH, ORIGIN, TRUST, sealed

SECRET = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
OPEN = NoEncryption()


def pem_of(key: Any, *, password: bytes | None = None) -> bytes:
    protection = BestAvailableEncryption(password) if password else OPEN
    data: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection)
    return data


def pem_around(der: bytes) -> bytes:
    return b"-----BEGIN PRIVATE KEY-----\n" + base64.b64encode(der) + b"\n-----END PRIVATE KEY-----\n"


def file_with(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


def file_for_folder(path: Path) -> None:
    path.parent.rmdir()
    path.parent.write_text("x")


def test_a_new_key_lies_in_a_file_for_its_owner_alone_and_can_be_loaded(tmp_path: Path) -> None:
    path = tmp_path / "new.pem"
    key = FileKey.create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----\n")
    again = FileKey.load(path)
    assert again.public.raw == key.public.raw
    assert key.public.verifies(again.sign(b"message"), b"message")


def test_two_new_keys_are_two_keys(tmp_path: Path) -> None:
    assert FileKey.create(tmp_path / "a").keyid != FileKey.create(tmp_path / "b").keyid


def test_a_key_file_is_never_overwritten(tmp_path: Path) -> None:
    path = file_with(tmp_path / "kept.pem", b"kept")
    with pytest.raises(ConfigurationError, match="never overwritten"):
        FileKey.create(path)
    assert path.read_bytes() == b"kept"


def test_a_dangling_link_is_not_followed_to_make_a_key(tmp_path: Path) -> None:
    (tmp_path / "link.pem").symlink_to(tmp_path / "elsewhere.pem")
    with pytest.raises(ConfigurationError, match="never overwritten"):
        FileKey.create(tmp_path / "link.pem")
    assert not (tmp_path / "elsewhere.pem").exists()


def test_the_key_id_is_the_digest_of_the_raw_public_key() -> None:
    raw = SECRET.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    key = FileKey(SECRET)
    assert key.public.raw == raw
    assert key.keyid == key.public.keyid == hashlib.sha256(raw).digest()


GOOD_PEM = pem_of(SECRET)
# PKCS#8 around an algorithm that does not exist (1.3.101.99).
UNKNOWN_ALGORITHM = pem_around(bytes.fromhex("302e020100300506032b656304220420") + b"\x07" * 32)
KEY_FILES: list[tuple[str, Callable[[Path], object], str, str]] = [
    ("missing", lambda _path: None, "cannot be read: No such file", "backup of COUNTERSIGN_HOME"),
    ("a folder", lambda path: path.mkdir(), "cannot be read: Is a directory", "backup"),
    ("in a folder that is a file", file_for_folder, "cannot", "backup"),
    ("readable by the group", lambda path: file_with(path, GOOD_PEM, 0o640), "mode 0640", "chmod 600 "),
    ("readable by all", lambda path: file_with(path, GOOD_PEM, 0o644), "mode 0644", "chmod 600 "),
    ("writable by all", lambda path: file_with(path, GOOD_PEM, 0o602), "mode 0602", "chmod 600 "),
    ("empty", lambda path: file_with(path, b""), "not an unencrypted PKCS#8 PEM", "backup"),
    ("no PEM", lambda path: file_with(path, b"\x00\x01"), "not an unencrypted PKCS#8 PEM", "backup"),
    ("PEM around nothing", lambda path: file_with(path, pem_around(b"")), "not an unencrypted", "backup"),
    ("cut off", lambda path: file_with(path, GOOD_PEM[:60]), "not an unencrypted PKCS#8 PEM", "backup"),
    ("encrypted", lambda path: file_with(path, pem_of(SECRET, password=b"pw")), "not an unencrypted", "backup"),
    ("RSA", lambda path: file_with(path, pem_of(rsa.generate_private_key(65537, 2048))), "another kind", "backup"),
    ("EC", lambda path: file_with(path, pem_of(ec.generate_private_key(ec.SECP256R1()))), "another kind", "backup"),
    ("X25519", lambda path: file_with(path, pem_of(x25519.X25519PrivateKey.generate())), "another kind", "backup"),
    ("of an unknown algorithm", lambda path: file_with(path, UNKNOWN_ALGORITHM), "not an|another kind", "backup"),
    (
        "a public key",
        lambda path: file_with(path, SECRET.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)),
        "not an unencrypted PKCS#8 PEM",
        "backup",
    ),
]


@pytest.mark.parametrize(("make", "reason", "remedy"), [item[1:] for item in KEY_FILES], ids=[i[0] for i in KEY_FILES])
def test_a_key_file_that_is_not_one_is_refused_with_path_reason_and_remedy(
    tmp_path: Path, make: Callable[[Path], object], reason: str, remedy: str
) -> None:
    (tmp_path / "folder").mkdir()
    path = tmp_path / "folder" / "entry.pem"
    make(path)
    with pytest.raises(ConfigurationError, match=reason) as caught:
        FileKey.load(path)
    assert str(path) in caught.value.message
    assert remedy in caught.value.remedy


def test_the_remedy_for_an_open_key_file_is_the_command_that_closes_it(tmp_path: Path) -> None:
    path = file_with(tmp_path / "open.pem", GOOD_PEM, 0o644)
    with pytest.raises(ConfigurationError) as caught:
        FileKey.load(path)
    assert caught.value.remedy == f"Run: chmod 600 {path}"


DOCUMENT: dict[str, Any] = TRUST.as_json()
SMALL = base64.b64encode(bytes(32)).decode()
TRUST_FILES: list[tuple[str, bytes, str]] = [
    ("empty", b"", "damaged"),
    ("no JSON", b"trust", "damaged"),
    ("not canonical", json.dumps(DOCUMENT, indent=1).encode(), "damaged"),
    ("a duplicate key", canonical(DOCUMENT)[:-1] + b',"spec":"countersign/trust/1"}', "damaged"),
    ("a list", b"[]", "exactly the members"),
    ("without log", canonical({k: v for k, v in DOCUMENT.items() if k != "log"}), "exactly the members"),
    ("with more", canonical(DOCUMENT | {"comment": ""}), "exactly the members"),
    ("another spec", canonical(DOCUMENT | {"spec": "countersign/trust/2"}), "its spec is"),
    ("an origin that is no string", canonical(DOCUMENT | {"origin": 1}), "not a countersign/trust/1"),
    ("an origin with a space", canonical(DOCUMENT | {"origin": "a b"}), "origin"),
    ("keys that are no list", canonical(DOCUMENT | {"entry": "x"}), "not lists"),
    ("a log that is no list", canonical(DOCUMENT | {"log": {}}), "not lists"),
    ("a key that is not base64", canonical(DOCUMENT | {"entry": ["%%%%"]}), "not a countersign/trust/1"),
    ("a key in hex", canonical(DOCUMENT | {"entry": [DEPLOYMENT.public.raw.hex()]}), "32 bytes"),
    ("a short key", canonical(DOCUMENT | {"entry": ["AAAA"]}), "32 bytes"),
    ("a key of small order", canonical(DOCUMENT | {"entry": [SMALL]}), "small order"),
    ("a key that is a number", canonical(DOCUMENT | {"entry": [5]}), "not a countersign/trust/1"),
    ("a log key that is a number", canonical(DOCUMENT | {"log": [5]}), "not a countersign/trust/1"),
    ("a log key that is an object", canonical(DOCUMENT | {"log": [{}]}), "not a countersign/trust/1"),
]


@pytest.mark.parametrize(("data", "reason"), [item[1:] for item in TRUST_FILES], ids=[i[0] for i in TRUST_FILES])
def test_a_trust_file_that_is_not_one_is_refused_with_path_reason_and_remedy(
    tmp_path: Path, data: bytes, reason: str
) -> None:
    path = file_with(tmp_path / "trust.json", data)
    with pytest.raises(ConfigurationError, match=reason) as caught:
        Trust.load(path)
    assert str(path) in caught.value.message
    assert "--trust FILE" in caught.value.remedy


def test_a_missing_trust_file_is_refused_with_path_and_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot be read: No such file") as caught:
        Trust.load(tmp_path / "trust.json")
    assert str(tmp_path / "trust.json") in caught.value.message
    assert "--trust FILE" in caught.value.remedy


def test_trust_is_written_as_the_format_says_and_read_back(tmp_path: Path) -> None:
    trust = Trust(ORIGIN, (DEPLOYMENT.public, GRAPH.public), ("log+00000000+AAAA",))
    assert trust.as_json() == {
        "spec": "countersign/trust/1",
        "origin": ORIGIN,
        "entry": [base64.b64encode(key.public.raw).decode() for key in (DEPLOYMENT, GRAPH)],
        "log": ["log+00000000+AAAA"],
    }
    again = Trust.load(file_with(tmp_path / "trust.json", canonical(trust.as_json()) + b"\n"))
    assert (again.origin, again.log) == (trust.origin, trust.log)
    assert [key.raw for key in again.entry] == [key.raw for key in trust.entry]


def test_a_new_folder_holds_three_keys_and_trust_in_two_of_them(tmp_path: Path) -> None:
    folder = KeyFolder.of(tmp_path / "home", "log.example/a")
    folder.create("log.example/a")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.path.iterdir()}
    assert modes == {"deployment.pem": 0o600, "graph.pem": 0o600, "log.pem": 0o600, "trust.json": 0o644}
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    trust = folder.trust()
    assert trust.origin == "log.example/a"
    assert [key.raw for key in trust.entry] == [folder.key("deployment").public.raw]
    assert trust.log == (VerifierKey("log.example/a", Algorithm.LOG, folder.key("log").public).text,)
    assert len({folder.key(name).keyid for name in ("deployment", "graph", "log")}) == 3


def test_a_folder_with_keys_is_never_made_anew(tmp_path: Path) -> None:
    folder = KeyFolder.of(tmp_path, ORIGIN)
    folder.create(ORIGIN)
    before = folder.key("deployment").keyid
    with pytest.raises((ConfigurationError, FileExistsError)):
        folder.create(ORIGIN)
    assert folder.key("deployment").keyid == before


def test_a_folder_that_is_moved_keeps_its_keys(tmp_path: Path) -> None:
    folder = KeyFolder.of(tmp_path, "pending")
    folder.create(ORIGIN)
    keyid = folder.key("graph").keyid
    moved = folder.move_to(KeyFolder.of(tmp_path, ORIGIN))
    assert moved.key("graph").keyid == keyid
    assert not folder.path.exists()


FOLDERS = ["a", "a/b", "../a", "%2F", "a%2Fb", "A", "\u00e9.example/log", "a:b\\c", "~", "*"]


def test_every_origin_has_a_folder_of_its_own_directly_below_the_home() -> None:
    paths = {KeyFolder.of(Path("/home"), origin).path for origin in FOLDERS}
    assert len(paths) == len(FOLDERS)
    assert {path.parent for path in paths} == {Path("/home")}


@pytest.mark.parametrize("origin", [".", ".."])
def test_an_origin_that_is_a_path_of_its_own_does_not_leave_the_home(origin: str) -> None:
    try:
        folder = KeyFolder.of(Path("/home/keys"), check_origin(origin))
    except MalformedError:
        return
    assert folder.path.parent == Path("/home/keys")
    assert folder.path.name != ".."


def test_the_longest_origin_allowed_has_a_folder_that_can_be_made(tmp_path: Path) -> None:
    origin = check_origin("\u00e9" * 255)
    KeyFolder.of(tmp_path, origin).create(origin)


def introducing(**detail: Any) -> IntroducedKey | None:
    good = introduction(GRAPH.public, ("run.*",))
    value = {key: item for key, item in (good | detail).items() if item is not None}
    return introduced(parse_body(sealed(EntryDraft("@keys", "key.introduced", detail=value)).body))


def test_a_key_is_introduced_with_the_kinds_it_may_sign() -> None:
    key = introducing(kinds=["run.*", "state.updated"])
    assert key is not None
    assert (key.public.raw, key.kinds) == (GRAPH.public.raw, ("run.*", "state.updated"))
    assert key.may_sign("run.started")
    assert key.may_sign("state.updated")
    assert not key.may_sign("state.removed")
    assert not key.may_sign("key.introduced")


def test_the_introduction_has_the_members_of_the_format() -> None:
    assert introduction(GRAPH.public, ("run.*",)) == {
        "public_key": base64.b64encode(GRAPH.public.raw).decode(),
        "purpose": "entry",
        "kinds": ["run.*"],
    }


def test_a_log_key_is_no_entry_key() -> None:
    assert introducing(purpose="log", kinds=None) is None


@pytest.mark.parametrize("kind", ["key.retired", "key.revoked", "run.started"])
def test_another_kind_introduces_nothing(kind: str) -> None:
    draft = EntryDraft("@keys", kind, detail=introduction(GRAPH.public, ("*",)))
    assert introduced(parse_body(sealed(draft).body)) is None


UNUSABLE: list[tuple[str, dict[str, Any]]] = [
    ("no purpose", {"purpose": None}),
    ("another purpose", {"purpose": "seal"}),
    ("no kinds", {"kinds": None}),
    ("empty kinds", {"kinds": []}),
    ("kinds that are a string", {"kinds": "*"}),
    ("kinds that are numbers", {"kinds": [1]}),
    ("a kind that is no pattern", {"kinds": ["run.*", "run*"]}),
    ("no public key", {"public_key": None}),
    ("a public key that is a number", {"public_key": 1}),
    ("a public key that is not base64", {"public_key": "\u00e9"}),
    ("a public key in hex", {"public_key": GRAPH.public.raw.hex()}),
    ("a short public key", {"public_key": "AAAA"}),
    ("a public key of small order", {"public_key": SMALL}),
]


@pytest.mark.parametrize("detail", [item[1] for item in UNUSABLE], ids=[item[0] for item in UNUSABLE])
def test_an_introduction_that_introduces_no_usable_key_is_malformed(detail: dict[str, Any]) -> None:
    with pytest.raises(MalformedError):
        introducing(**detail)
