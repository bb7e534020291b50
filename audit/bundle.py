"""A bundle: one trail as a .zip, with all that it takes to check it without the database (docs/formats.md).

The form of its files, to write and to read. Whether what they say is true is verify_bundle.py's.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count
from typing import Any, BinaryIO, Generic, NamedTuple, Protocol, TypeVar

from .archive import MAX_FILES, MAX_TOTAL, Archive, Digest, check_name
from .body import parse_body
from .canonical import Json, Rendered, assemble, canonical, format_time, parse, parse_time
from .chain import SALT_BYTES
from .entry import KEYS_TRAIL, PAYLOAD_TYPE, SYSTEM_TRAIL, Entry, check_origin, check_trail, envelope
from .errors import ConfigurationError, MalformedError, VerificationError
from .logproof import LogProof
from .note import Note, decode_base64, encode_base64
from .treehead import parse_hash

SPEC = "countersign/bundle/1"
HEAD_TIME = "tree-head.tsr"
"""The name of a time token over the text of the head, in `others`: a bundle may have one."""
MANIFEST, HEAD, EXPORTED_PROOF, README = "manifest.json", "tree-head", "exported.tlog-proof", "README.txt"
MAX_LINE = 1 << 27
"""Bytes of a line: an entry, or a payload."""
MAX_MANIFEST = 1 << 20
_LOG_KEY = re.compile(r"log-keys/([1-9][0-9]{0,15})\.tlog-proof")
_OF_MANIFEST = re.compile(r"manifest\.json(\.[A-Za-z0-9_-]+)*\.(p7s|tsr)")
_SHA256 = re.compile("[0-9a-f]{64}")
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first moment that a zip can name
_FILE_MODE = 0o100644 << 16
_UNIX = 3


class Series(NamedTuple):
    """The files that hold the entries of one trail. `@keys` has no payloads."""

    trail: str | None
    entries: str
    payloads: str | None
    proofs: str


TRAIL = Series(None, "trail.jsonl", "payloads.jsonl", "proofs.jsonl")
KEYS = Series(KEYS_TRAIL, "keys.jsonl", None, "keys-proofs.jsonl")
SYSTEM = Series(SYSTEM_TRAIL, "system.jsonl", "system-payloads.jsonl", "system-proofs.jsonl")
REQUIRED = (
    *(name for series in (TRAIL, KEYS, SYSTEM) for name in series[1:] if name is not None),
    HEAD,
    EXPORTED_PROOF,
    README,
)


class Inclusion(NamedTuple):
    """Where an entry stands in the log, and the inclusion proof, its sibling's hash first."""

    leaf_index: int
    hashes: tuple[bytes, ...]


class Place(NamedTuple):
    """An entry of a bundle. `erased` is the `seq` of the entry that recorded that its payload was erased."""

    entry: Entry
    inclusion: Inclusion | None
    erased: int | None = None


class Places(Protocol):
    """The entries of a trail in order, which can be gone through more than once: each time they may be read anew."""

    def __iter__(self) -> Iterator[Place]: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle says it is. Nothing signs it: every word of it is held against what is signed."""

    origin: str
    trail: str
    entries: int
    created_at: datetime
    files: Mapping[str, Digest]


@dataclass(frozen=True, slots=True)
class Contents:
    """What goes into a bundle: the whole trail up to its `report.exported`, `@keys` up to the entry that this names.

    `log_keys` are the inclusion proofs of log keys under their overlap heads, by `seq` in `@keys`. `others` are files
    by name that are not needed to check the trail. The entries are gone through once for each of their files, one in
    memory at a time.
    """

    origin: str
    trail: str
    created_at: datetime
    entries: Places
    keys: Places
    system: Places
    head: Note
    readme: str
    log_keys: Mapping[int, LogProof] = field(default_factory=dict)
    others: Mapping[str, bytes] = field(default_factory=dict)


def write_bundle(file: BinaryIO, contents: Contents) -> None:
    """Write a bundle to a file that can seek. The same contents give the same bytes, whoever writes them.

    Nothing is verified. Files are not compressed: what a compressor makes of them differs from one release to the next.
    Raises ConfigurationError for what no bundle can hold: more than 2^31-1 bytes or 1,000 files, a name that a bundle's
    own file has, no entries.
    """
    files: dict[str, Digest] = {}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as packed:
        for name, chunks in _files(contents):
            if name in files or len(files) + 1 >= MAX_FILES:
                raise _unfit(f"{name} stands there twice, or there are too many files")
            room = MAX_TOTAL - MAX_MANIFEST - sum(digest.size for digest in files.values())
            files[name] = _write(packed, name, chunks, room)
        manifest = _manifest(contents, files)
        if len(manifest) > MAX_MANIFEST:
            raise _unfit("its files have too many and too long names")
        _write(packed, MANIFEST, [manifest], MAX_MANIFEST)


def _files(contents: Contents) -> Iterator[tuple[str, Iterable[bytes]]]:
    if not len(contents.entries):
        raise _unfit("it has no entries")
    yield README, [contents.readme.encode()]
    ends: list[Inclusion] = []
    for series, places in ((TRAIL, contents.entries), (KEYS, contents.keys), (SYSTEM, contents.system)):
        yield series.entries, (canonical(envelope(place.entry)) + b"\n" for place in places)
        if series.payloads is not None:
            yield series.payloads, (line for place in places for line in _payload_lines(place))
        yield series.proofs, _proof_lines(places, ends)
    yield HEAD, [contents.head.encode()]
    yield EXPORTED_PROOF, [LogProof(*ends[0], contents.head).encode()]
    for seq, proof in sorted(contents.log_keys.items()):
        yield f"log-keys/{seq}.tlog-proof", [proof.encode()]
    for name, data in sorted(contents.others.items()):
        if name == MANIFEST:
            raise _unfit("its manifest is written, not given")
        yield name, [data]


def _write(packed: zipfile.ZipFile, name: str, chunks: Iterable[bytes], room: int) -> Digest:
    info = zipfile.ZipInfo(check_name(name), _EPOCH)
    info.create_system, info.external_attr = _UNIX, _FILE_MODE
    found, size = hashlib.sha256(), 0
    with packed.open(info, "w") as member:
        for chunk in chunks:
            size += len(chunk)
            if size > room:
                raise _unfit(f"it would have more than {MAX_TOTAL} bytes")
            found.update(chunk)
            member.write(chunk)
    return Digest(found.hexdigest(), size)


def _manifest(contents: Contents, files: Mapping[str, Digest]) -> bytes:
    listed: list[Json] = [
        {"path": name, "sha256": digest.sha256, "size": digest.size}
        for name, digest in sorted(files.items())
        if not _OF_MANIFEST.fullmatch(name)
    ]
    return canonical(
        {
            "spec": SPEC,
            "origin": contents.origin,
            "trail": contents.trail,
            "entries": len(contents.entries),
            "created_at": format_time(contents.created_at),
            "files": listed,
        }
    )


def _payload_lines(place: Place) -> Iterator[bytes]:
    entry = place.entry
    if place.erased is not None:
        yield assemble({"seq": entry.seq, "erased": place.erased}) + b"\n"
    elif entry.salt is not None and entry.data is not None:
        data = Rendered(entry.data.decode())
        yield assemble({"seq": entry.seq, "salt": entry.salt.hex(), "data": data}) + b"\n"


def _proof_lines(places: Places, ends: list[Inclusion]) -> Iterator[bytes]:
    """Yield a line for each entry, and put the last one's inclusion behind `ends`."""
    inclusion = None
    for place in places:
        entry, inclusion = place.entry, place.inclusion
        if inclusion is None:
            raise _unfit(f"entry {entry.seq} of {entry.trail!r} has no inclusion proof")
        hashes: list[Json] = [encode_base64(value) for value in inclusion.hashes]
        yield canonical({"seq": entry.seq, "leaf_index": inclusion.leaf_index, "hashes": hashes}) + b"\n"
    if inclusion is not None:
        ends.append(inclusion)


def _unfit(sentence: str) -> ConfigurationError:
    return ConfigurationError(f"This bundle cannot be written: {sentence}.")


def is_of_manifest(name: str) -> bool:
    """Tell whether a file of this name is a seal or a time token of the manifest, which it cannot list."""
    return _OF_MANIFEST.fullmatch(name) is not None


def log_key_files(archive: Archive) -> dict[int, str]:
    """Return the files that hand over from one key of the log to the next, by the `seq` of the entry in `@keys`."""
    found = map(_LOG_KEY.fullmatch, archive.names)
    return {int(name[1]): name[0] for name in found if name is not None}


def read_manifest(archive: Archive) -> Manifest:
    """Return what a bundle says it is. Raises MalformedError for what is no bundle of spec version 1."""
    if MANIFEST not in archive.names:
        raise MalformedError(f"A zip without {MANIFEST}: it is no bundle.")
    value = parse(archive.read(MANIFEST, MAX_MANIFEST).removesuffix(b"\n"))
    if not isinstance(value, dict) or value.get("spec") != SPEC:
        spec = value.get("spec") if isinstance(value, dict) else None
        raise MalformedError(
            f"A bundle of an unknown spec: {spec!r}; this version reads {SPEC!r}.",
            remedy="Read it with the release that wrote it, or a later one.",
        )
    members = _members(value, origin=str, trail=str, entries=int, created_at=str, files=list, spec=str)
    files: dict[str, Digest] = {}
    for item in members["files"]:
        listed = _members(item, path=str, sha256=str, size=int)
        path, digest = check_name(listed["path"]), Digest(listed["sha256"], listed["size"])
        if path in files or path == MANIFEST or not _SHA256.fullmatch(digest.sha256):
            raise MalformedError(f"A manifest that lists {path} twice, or itself, or without its SHA-256.")
        files[path] = digest
    return Manifest(
        check_origin(members["origin"]),
        check_trail(members["trail"]),
        members["entries"],
        parse_time(members["created_at"]),
        files,
    )


def _members(value: object, **types: type) -> dict[str, Any]:
    """Return the members of an object, which are exactly these, of these types; a number is a count from 0."""
    if not isinstance(value, dict) or value.keys() != types.keys():
        raise MalformedError(f"Not an object with exactly the members {', '.join(sorted(types))}.")
    for name, kind in types.items():
        if type(value[name]) is not kind or (kind is int and value[name] < 0):
            raise MalformedError(f"The member {name} is not {_WORDS[kind]}.")
    return value


_WORDS = {str: "a string", int: "a count", list: "a list"}


def parse_envelope(line: bytes) -> Entry:
    """Return the entry in a DSSE envelope, without its payload. Raises MalformedError for any other; verifies nothing.

    The envelope has one signature, since one key signs an entry; trail, seq, kind and time are the body's.
    """
    value = _members(parse(line), payload=str, payloadType=str, signatures=list)
    if value["payloadType"] != PAYLOAD_TYPE or len(value["signatures"]) != 1:
        raise MalformedError(f"Not an envelope of {PAYLOAD_TYPE} with one signature.")
    signed = _members(value["signatures"][0], keyid=str, sig=str)
    if not _SHA256.fullmatch(signed["keyid"]):
        raise MalformedError("An envelope whose keyid is not 64 lower-case hex digits.")
    data = decode_base64(value["payload"])
    body = parse_body(data)
    keyid, signature = bytes.fromhex(signed["keyid"]), decode_base64(signed["sig"])
    return Entry(body.trail, body.seq, body.kind, body.occurred_at, data, keyid, signature)


class _Line(Protocol):
    @property
    def seq(self) -> int: ...


P = TypeVar("P")
L = TypeVar("L", bound=_Line)


class _Payload(NamedTuple):
    seq: int
    salt: bytes | None
    data: bytes | None
    erased: int | None


def _parse_payload(line: bytes) -> _Payload:
    value = parse(line)
    if isinstance(value, dict) and "erased" in value:
        erased = _members(value, seq=int, erased=int)
        return _Payload(erased["seq"], None, None, erased["erased"])
    if not isinstance(value, dict) or value.keys() != {"seq", "salt", "data"}:
        raise MalformedError("Not an object with the members seq, salt and data, or seq and erased.")
    data = canonical(value.pop("data"))
    kept = _members(value, seq=int, salt=str)
    if not _SHA256.fullmatch(kept["salt"]):
        raise MalformedError(f"A salt is {SALT_BYTES} bytes in lower-case hex.")
    return _Payload(kept["seq"], bytes.fromhex(kept["salt"]), data, None)


class _Proof(NamedTuple):
    seq: int
    inclusion: Inclusion


def _parse_proof(line: bytes) -> _Proof:
    value = _members(parse(line), seq=int, leaf_index=int, hashes=list)
    if not all(type(text) is str for text in value["hashes"]):
        raise MalformedError("A hash that is not a string.")
    return _Proof(value["seq"], Inclusion(value["leaf_index"], tuple(map(parse_hash, value["hashes"]))))


def read_places(
    archive: Archive, series: Series, trail: str, failed: Callable[[VerificationError], None]
) -> Iterator[Place]:
    """Yield the entries of a series of files with what the others say of them, one in memory at a time.

    What is said of an entry that is not there, or not there in this order, goes to `failed`. Raises VerificationError
    (`check` is "file") at a line that cannot be read; there is no going on behind it.
    """
    proofs = _Beside(archive, series.proofs, _parse_proof, trail, failed)
    payloads = _Beside(archive, series.payloads, _parse_payload, trail, failed) if series.payloads else None
    for entry in _parsed(archive, series.entries, parse_envelope, trail):
        proof = proofs.of(entry.seq)
        payload = payloads.of(entry.seq) if payloads is not None else None
        if payload is not None:
            yield Place(replace(entry, salt=payload.salt, data=payload.data), proof and proof.inclusion, payload.erased)
        else:
            yield Place(entry, proof and proof.inclusion)
    proofs.of(None)
    if payloads is not None:
        payloads.of(None)


def _parsed(archive: Archive, name: str, parse_line: Callable[[bytes], P], trail: str) -> Iterator[P]:
    lines = archive.lines(name, MAX_LINE)
    for number in count(1):
        where = ""
        try:
            if (line := next(lines, None)) is None:
                return
            where = f"Line {number} of {name} cannot be read: "
            parsed = parse_line(line)
        except MalformedError as error:
            raise file_failed(name, f"{where}{error.message}", trail) from error
        yield parsed


class _Beside(Generic[L]):
    """A file that says something of entries, in the order of the entries."""

    def __init__(
        self,
        archive: Archive,
        name: str,
        parse_line: Callable[[bytes], L],
        trail: str,
        failed: Callable[[VerificationError], None],
    ) -> None:
        self._name, self._trail, self._failed = name, trail, failed
        self._lines = _parsed(archive, name, parse_line, trail)
        self._next = next(self._lines, None)

    def of(self, seq: int | None) -> L | None:
        """Return what the file says of an entry; None where it says nothing. With None it has to be at its end."""
        while self._next is not None and (seq is None or self._next.seq < seq):
            sentence = (
                f"{self._name} tells of an entry {self._next.seq} that does not stand there, or not in its place."
            )
            self._failed(file_failed(self._name, sentence, self._trail, self._next.seq))
            self._next = next(self._lines, None)
        if self._next is None or self._next.seq != seq:
            return None
        found, self._next = self._next, next(self._lines, None)
        return found


def file_failed(name: str, sentence: str, trail: str | None = None, seq: int | None = None) -> VerificationError:
    """Return the failure of a file of a bundle: `check` is "file", and the file's name stands for a table's."""
    return VerificationError(sentence, check="file", trail=trail, seq=seq, table=name)
