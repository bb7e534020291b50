"""A zip from a stranger: what could be read in two ways, leads elsewhere or exhausts its reader is refused."""

from __future__ import annotations

import contextlib
import stat
import struct
import warnings
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from countersign.audit import archive
from countersign.audit.archive import MAX_FILES, Digest, check_name, open_archive
from countersign.audit.errors import ConfigurationError, MalformedError

NAME = "a.txt"


def zipped(*members: tuple[str | zipfile.ZipInfo, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", compression) as packed:
        warnings.simplefilter("ignore")  # it warns of names that stand twice, and writes them
        for name, data in members:
            packed.writestr(name, data)
    return file.getvalue()


PLAIN = zipped((NAME, b"one\ntwo\n"), ("b/c.txt", b"three\n"))
PACKED = zipped((NAME, b"one\ntwo\n" * 99), compression=zipfile.ZIP_DEFLATED)


def member(attributes: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(NAME)
    info.external_attr = attributes << 16
    info.create_system = 3
    return info


def patched(data: bytes, what: bytes, with_: bytes) -> bytes:
    assert data.count(what)
    return data.replace(what, with_)


def at_end(data: bytes, offset: int, form: str, change: Callable[[int], int]) -> bytes:
    """Return the zip with a number in its last 22 bytes changed."""
    end = bytearray(data[-22:])
    (number,) = struct.unpack_from(form, end, offset)
    struct.pack_into(form, end, offset, change(number))
    return data[:-22] + bytes(end)


def in_directory(data: bytes, offset: int, form: str, value: int) -> bytes:
    """Return the zip with a number of the first file in its directory changed."""
    changed = bytearray(data)
    struct.pack_into(form, changed, data.index(b"PK\1\2") + offset, value)
    return bytes(changed)


def in_header(data: bytes, offset: int, form: str, value: int) -> bytes:
    changed = bytearray(data)
    struct.pack_into(form, changed, offset, value)
    return bytes(changed)


def hidden(data: bytes) -> bytes:
    """Return the zip with another file behind the last one, which the directory does not list."""
    other = zipped((NAME, b"another one"))
    between = other[: other.index(b"PK\1\2")]
    begin = data.index(b"PK\1\2")
    return at_end(data[:begin] + between + data[begin:], 16, "<L", lambda number: number + len(between))


def zip64(data: bytes) -> bytes:
    return data[:-22] + b"PK\6\7" + bytes(16) + data[-22:]


REFUSED: list[tuple[str, bytes, str]] = [
    ("nothing", b"", "Not a zip"),
    ("text", b"%PDF-1.7 and so on, and so on, and so on", "Not a zip"),
    ("only an end", PLAIN[-22:], "something before"),
    ("cut at the end", PLAIN[:-1], "Not a zip"),
    ("cut at the begin", PLAIN[1:], "something before"),
    ("something before", b"#!/bin/sh\n" + PLAIN, "something before"),
    ("something behind", PLAIN + b"\0", "Not a zip"),
    ("a comment", PLAIN[:-2] + b"\2\0hi", "Not a zip"),
    ("a comment of zeros", PLAIN[:-2] + b"\x16\0" + bytes(22), "Not a zip"),
    ("a second zip behind", PLAIN + PLAIN, "something before"),
    ("several parts", at_end(PLAIN, 4, "<H", lambda _: 1), "several parts"),
    ("extensions for large files", zip64(PLAIN), "extensions"),
    ("a wrong number of files", at_end(at_end(PLAIN, 8, "<H", lambda _: 1), 10, "<H", lambda _: 1), "lists 2"),
    ("a file hidden in a gap", hidden(PLAIN), "gap"),
    ("a name twice", zipped((NAME, b"1"), (NAME, b"2")), "two files of the name"),
    ("up", zipped(("../a.txt", b"1")), "a name that no bundle has"),
    ("up in between", zipped(("b/../../a.txt", b"1")), "a name that no bundle has"),
    ("absolute", zipped(("/etc/passwd", b"1")), "a name that no bundle has"),
    ("a drive", zipped(("C:a.txt", b"1")), "a name that no bundle has"),
    ("backslash", zipped(("b\\a.txt", b"1")), "a name that no bundle has"),
    ("a folder", zipped(("b/", b"")), "a name that no bundle has"),
    ("hidden", zipped((".profile", b"")), "a name that no bundle has"),
    ("not ASCII", zipped(("\u00e9.txt", b"")), "a name that no bundle has"),
    ("a NUL", patched(PLAIN, b"a.txt", b"a\0txt"), "a name that no bundle has"),
    ("long", zipped(("x" * 256, b"")), "a name that no bundle has"),
    ("two names", PLAIN.replace(b"a.txt", b"z.txt", 1), "cannot be unpacked"),
    ("a link", zipped((member(stat.S_IFLNK | 0o777), b"/etc/passwd")), "a link"),
    ("a device", zipped((member(stat.S_IFCHR | 0o666), b"")), "a link"),
    ("encrypted", in_header(in_directory(PLAIN, 8, "<H", 1), 6, "<H", 1), "encrypted"),
    ("patched data", in_header(in_directory(PLAIN, 8, "<H", 0x20), 6, "<H", 0x20), "packed in a way"),
    ("bzip2", zipped((NAME, b"1"), compression=zipfile.ZIP_BZIP2), "compressed in a way"),
    ("lzma", zipped((NAME, b"1"), compression=zipfile.ZIP_LZMA), "packed in a way|compressed in a way"),
    ("an unknown method", in_directory(PLAIN, 10, "<H", 99), "compressed in a way"),
    ("another method in the file", in_header(PACKED, 8, "<H", 0), "something else"),
    ("another size in the file", in_header(PLAIN, 22, "<L", 3), "something else"),
    ("two sizes", in_directory(PLAIN, 24, "<L", 3), "two sizes"),
    ("a bomb", zipped((NAME, bytes(2 << 20)), compression=zipfile.ZIP_DEFLATED), "a bomb"),
    ("a bomb by its directory", in_directory(PACKED, 24, "<L", 1 << 30), "a bomb"),
    ("too many files", zipped(*((f"{number}", b"") for number in range(MAX_FILES + 1))), "1000 files are accepted"),
    ("overlap", in_directory(PLAIN, 42, "<L", 1), "gap or an overlap"),
]


def read_all(data: bytes) -> dict[str, bytes]:
    with open_archive(data) as opened:
        return {name: opened.read(name, 10_000_000) for name in opened.names}


@pytest.mark.parametrize(("data", "reason"), [item[1:] for item in REFUSED], ids=[item[0] for item in REFUSED])
def test_this_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(MalformedError, match=reason):
        read_all(data)


def test_a_large_directory_is_refused_before_it_is_read() -> None:
    data = at_end(at_end(PLAIN, 12, "<L", lambda _: 1 << 30), 16, "<L", lambda _: 0)
    with pytest.raises(MalformedError, match="1000 files are accepted"), open_archive(data):
        pass


def test_files_may_not_be_too_large_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_TOTAL", 13)
    with pytest.raises(MalformedError, match="14 bytes of files; 13 are accepted"), open_archive(PLAIN):
        pass


def test_files_are_read_from_bytes_and_from_a_path(tmp_path: Path) -> None:
    path = tmp_path / "some.zip"
    path.write_bytes(PLAIN)
    for source in (PLAIN, path):
        with open_archive(source) as opened:
            assert opened.names == [NAME, "b/c.txt"]
            assert list(opened.lines(NAME, 3)) == [b"one", b"two"]
            assert opened.read("b/c.txt", 6) == b"three\n"
            assert opened.digest("b/c.txt") == Digest(
                "f6936912184481f5edd4c304ce27c5a1a827804fc7f329f43d273b8621870776", 6
            )


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.zip cannot be read"), open_archive(Path("nowhere.zip")):
        pass


def test_what_other_packers_write_is_read_too() -> None:
    class Pipe(BytesIO):
        def seekable(self) -> bool:
            return False

        def tell(self) -> int:
            raise OSError

        def seek(self, *_: int) -> int:
            raise OSError

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as target:  # sizes behind the data
        target.writestr(NAME, b"one\n" * 50)
        target.writestr("b.txt", b"two\n")
    for data in (PACKED, pipe.getvalue()):
        with open_archive(data) as opened:
            assert opened.read(NAME, 10_000).startswith(b"one\n")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"one", "last line"),
        (b"one\n\ntwo\n", "Line 2"),
        (b"\n", "Line 1"),
        (b"one\nfour\n", "Line 2 .* more than 3 bytes"),
        (b"one\nfour", "Line 2 .* more than 3 bytes"),
    ],
)
def test_lines_end_with_a_newline_and_are_neither_empty_nor_too_long(data: bytes, reason: str) -> None:
    with open_archive(zipped((NAME, data))) as opened, pytest.raises(MalformedError, match=reason):
        list(opened.lines(NAME, 3))


def test_a_file_is_not_read_beyond_its_limit() -> None:
    with open_archive(PLAIN) as opened, pytest.raises(MalformedError, match="8 bytes; 7 are accepted"):
        opened.read(NAME, 7)


@given(st.lists(st.binary(min_size=1, max_size=40).filter(lambda line: b"\n" not in line)), st.integers(1, 50))
def test_lines_are_those_that_were_written_however_they_come(lines: list[bytes], size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive, "_CHUNK", size)
        with open_archive(zipped((NAME, b"".join(line + b"\n" for line in lines)))) as opened:
            assert list(opened.lines(NAME, 40)) == lines


@pytest.mark.parametrize("name", ["a", "log-keys/12.tlog-proof", "certs/ca.pem", "trail.csv.p7s", "README.txt", "-"])
def test_this_can_name_a_file(name: str) -> None:
    assert check_name(name) == name


SAMPLES = [PLAIN, PACKED]


@given(st.sampled_from(SAMPLES), st.data())
def test_a_zip_with_a_changed_byte_says_the_same_or_is_refused(data: bytes, draw: st.DataObject) -> None:
    at = draw.draw(st.integers(0, len(data) - 1))
    changed = data[:at] + bytes([draw.draw(st.integers(0, 255))]) + data[at + 1 :]
    try:
        found = read_all(changed)
    except MalformedError:
        return
    assert list(found.values()) == list(read_all(data).values())


@given(st.sampled_from(SAMPLES), st.integers(0, 2000), st.integers(0, 2000), st.binary(max_size=8))
def test_no_bytes_give_another_error_than_ours(data: bytes, one: int, other: int, part: bytes) -> None:
    begin, end = sorted((one, other))
    with contextlib.suppress(MalformedError):
        read_all(data[:begin] + part + data[end:])
