"""A .zip from outside, read so that it has one meaning and cannot exhaust whoever reads it.

Pure but for reading the file it is given; nothing is ever unpacked to a disk. A zip lists its files twice, and readers
differ in which list they believe: so the files have to lie one behind the other without a gap, as the directory at the
end says, with nothing before, between and behind them.
"""

from __future__ import annotations

import hashlib
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

from .errors import ConfigurationError, MalformedError

MAX_FILES = 1_000
MAX_TOTAL = 2**31 - 1
"""Bytes of all files together, unpacked: what a zip can hold without the extensions that readers disagree about."""
MAX_RATIO = 200
"""How many bytes may come out of one, for files beyond a megabyte: text has 3 to 20, a bomb 1,000."""
_SMALL = 1 << 20
_CHUNK = 1 << 20
_MAX_NAME = 255
_MAX_LISTED = 1 << 10  # bytes in the directory: a name, and what packers add
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_END = struct.Struct("<4s4H2LH")
_LOCAL = struct.Struct("<4s5H3L2H")
_LOCATOR = 20
_DESCRIPTOR = 0x08
_FLAGS = 0x02 | 0x04 | _DESCRIPTOR | 0x800  # of deflate, sizes behind the data, names in UTF-8
_DESCRIPTORS = (12, 16)
_TROUBLE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError, ValueError, LookupError)


class Digest(NamedTuple):
    """What a file in the archive is."""

    sha256: str
    size: int


def check_name(name: str) -> str:
    """Return `name` if a file of an archive may have it: relative, ASCII, no part that begins with a dot.

    Raises MalformedError otherwise.
    """
    if len(name) > _MAX_NAME or not _NAME.fullmatch(name):
        raise MalformedError(f"A file with a name that no bundle has: {name[:_MAX_NAME]!r}.")
    return name


class Archive:
    """The files of a zip. Made by `open_archive`, and usable as long as that is open."""

    def __init__(self, packed: zipfile.ZipFile) -> None:
        self._packed = packed
        self._files = {info.filename: info for info in packed.infolist()}

    @property
    def names(self) -> list[str]:
        """The names of all files, in the archive's order."""
        return list(self._files)

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield the bytes of a file in pieces of a megabyte at most. Raises MalformedError if they are damaged."""
        try:
            with self._packed.open(self._files[name]) as file:
                while chunk := file.read(_CHUNK):
                    yield chunk
        except _TROUBLE as error:
            raise MalformedError(f"The file {name} cannot be unpacked: {error}.") from error

    def digest(self, name: str) -> Digest:
        """Return SHA-256 and size of a file. Raises MalformedError if it is damaged."""
        found, size = hashlib.sha256(), 0
        for chunk in self.chunks(name):
            found.update(chunk)
            size += len(chunk)
        return Digest(found.hexdigest(), size)

    def read(self, name: str, limit: int) -> bytes:
        """Return the bytes of a file. Raises MalformedError if it is damaged, or has more than `limit`."""
        size = self._files[name].file_size
        if size > limit:
            raise MalformedError(f"The file {name} has {size} bytes; {limit} are accepted.")
        return b"".join(self.chunks(name))

    def lines(self, name: str, limit: int) -> Iterator[bytes]:
        """Yield the lines of a file without their newlines, one in memory at a time.

        Raises MalformedError if the file is damaged, if the last line has no newline, and for an empty line or one of
        more than `limit` bytes.
        """
        rest = bytearray()
        number = 1
        for chunk in self.chunks(name):
            *ends, begin = chunk.split(b"\n")
            for end in ends:
                rest += end
                if not 0 < len(rest) <= limit:
                    raise MalformedError(f"Line {number} of {name} is empty or has more than {limit} bytes.")
                yield bytes(rest)
                rest.clear()
                number += 1
            rest += begin
            if len(rest) > limit:
                raise MalformedError(f"Line {number} of {name} has more than {limit} bytes.")
        if rest:
            raise MalformedError(f"The last line of {name} does not end with a newline.")


@contextmanager
def open_archive(source: Path | bytes) -> Iterator[Archive]:
    """Yield the archive in a file, or in these bytes.

    Raises ConfigurationError if the file cannot be read, and MalformedError for what is no zip, or one that two readers
    could take for different ones, or that is made to exhaust them: names that stand twice or lead elsewhere,
    encryption, compression other than deflate, more than 1,000 files or 2^31-1 bytes, gaps and overlaps.
    """
    with _opened(source) as file:
        begin, files = _check_end(file)
        try:
            packed = zipfile.ZipFile(file)
        except _TROUBLE as error:
            raise MalformedError(f"Not a zip: {error}.") from error
        with packed:
            infos = packed.infolist()
            if len(infos) != files:
                raise MalformedError(f"A zip that says {files} files and lists {len(infos)}.")
            _check_files(infos)
            _check_layout(file, infos, begin)
            yield Archive(packed)


@contextmanager
def _opened(source: Path | bytes) -> Iterator[BinaryIO]:
    if isinstance(source, bytes):
        yield BytesIO(source)
        return
    try:
        file = source.open("rb")
    except OSError as error:
        raise ConfigurationError(
            f"The bundle {source} cannot be read: {error.strerror}.", remedy="Name the .zip that was handed over."
        ) from error
    with file:
        yield file


def _check_end(file: BinaryIO) -> tuple[int, int]:
    """Return where the directory begins and how many files it lists, before anything of it is read."""
    size = file.seek(0, 2)
    file.seek(max(0, size - _END.size - _LOCATOR))
    tail = file.read()
    if len(tail) < _END.size or tail[-_END.size :][:4] != b"PK\5\6":
        raise MalformedError("Not a zip, or one that is cut or has something behind its end.")
    _, disk, first_disk, here, files, length, begin, comment = _END.unpack(tail[-_END.size :])
    if tail[: -_END.size].startswith(b"PK\6\7") or (disk, first_disk, comment) != (0, 0, 0) or here != files:
        raise MalformedError("A zip with a comment, of several parts, or with the extensions for large files.")
    if files > MAX_FILES or length > MAX_FILES * _MAX_LISTED:
        raise MalformedError(f"A zip that lists {files} files in {length} bytes; {MAX_FILES} files are accepted.")
    if begin + length + _END.size != size:
        raise MalformedError("A zip with something before its files or behind its directory.")
    return int(begin), int(files)


def _check_files(infos: list[zipfile.ZipInfo]) -> None:
    seen: set[str] = set()
    for info in infos:
        name = check_name(info.orig_filename)
        if name in seen or info.filename != name:
            raise MalformedError(f"A zip with two files of the name {name}.")
        seen.add(name)
        if info.flag_bits & ~_FLAGS:
            raise MalformedError(f"The file {name} is encrypted or packed in a way that is not read.")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise MalformedError(f"The file {name} is compressed in a way that is not read; pack it without.")
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            raise MalformedError(f"The file {name} is a link or something else than a file.")
        if info.compress_type == zipfile.ZIP_STORED and info.compress_size != info.file_size:
            raise MalformedError(f"The file {name} has two sizes.")
        if info.file_size > max(_SMALL, MAX_RATIO * info.compress_size):
            raise MalformedError(
                f"The file {name} would grow from {info.compress_size} to {info.file_size} bytes: a bomb.",
                remedy="If it is none, pack the same files again without compression: zip -0.",
            )
    total = sum(info.file_size for info in infos)
    if total > MAX_TOTAL:
        raise MalformedError(f"A zip with {total} bytes of files; {MAX_TOTAL} are accepted.")


def _check_layout(file: BinaryIO, infos: list[zipfile.ZipInfo], directory: int) -> None:
    """Refuse files that overlap, and gaps where a reader that goes from file to file would find others."""
    end = 0
    gaps: tuple[int, ...] = (0,)
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset - end not in gaps:
            raise MalformedError(f"A zip with a gap or an overlap before {info.filename}.")
        file.seek(info.header_offset)
        header = file.read(_LOCAL.size)
        if len(header) < _LOCAL.size:
            raise MalformedError(f"A zip that is cut before {info.filename}.")
        _, _, flags, method, _, _, *sizes, name, extra = _LOCAL.unpack(header)
        listed = [info.CRC, info.compress_size, info.file_size]
        if (flags, method) != (info.flag_bits, info.compress_type) or (
            sizes != listed and not (flags & _DESCRIPTOR and sizes == [0, 0, 0])
        ):
            raise MalformedError(f"A zip whose directory says something else of {info.filename} than the file itself.")
        end = info.header_offset + _LOCAL.size + name + extra + info.compress_size
        gaps = _DESCRIPTORS if info.flag_bits & _DESCRIPTOR else (0,)
    if directory - end not in gaps:
        raise MalformedError("A zip with a gap or an overlap before its directory.")
