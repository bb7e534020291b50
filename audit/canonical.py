"""Canonical JSON (RFC 8785) for our own documents, and the tags that carry Python values in it.

Two writers that mean the same document produce the same bytes, so a digest of the bytes is a digest of the meaning.
Narrower than RFC 8785 on purpose: no floats, and integers only within +-(2^53-1), because that is where readers in
other languages begin to disagree (docs/formats.md, section 1).
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from json.encoder import encode_basestring
from typing import Any, NamedTuple, NoReturn

from .errors import MalformedError

MAX_INT = 2**53 - 1
MAX_DEPTH = 200
_HEX32 = re.compile("[0-9a-f]{64}")
_TIME = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9][.][0-9]{6}Z")

Json = None | bool | int | str | list["Json"] | dict[str, "Json"]
Dump = Callable[[Any], tuple[str, bytes]]

_encode_sorted = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), check_circular=False, sort_keys=True
).encode
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


def canonical(value: Json) -> bytes:
    """Return the one encoding of `value`.

    Raises MalformedError on a float, an integer beyond +-(2^53-1), a key or string that is not valid Unicode, a type
    that JSON has no word for, or nesting deeper than 200.
    """
    try:
        # UTF-16 code units and code points order ASCII alike, which is what keys nearly always are; see _ordered.
        return (_encode_sorted(value) if _check(value, 0) else _encode(_ordered(value))).encode("utf-8")
    except UnicodeEncodeError as error:
        raise _not_unicode(error) from error


def same(one: Json, other: Json) -> bool:
    """Tell whether two values are the same document: Python takes 1 for True, and JSON does not."""
    return canonical(one) == canonical(other)


class Rendered(NamedTuple):
    """A value as the text of its canonical form, to be put into a document without being looked at again."""

    text: str


def render(value: Json) -> Rendered:
    """Return the canonical text of `value`. Raises MalformedError as `canonical` does."""
    return Rendered(canonical(value).decode())


def quoted(text: str) -> str:
    """Return the canonical form of a string, as text."""
    return encode_basestring(text)


def assemble(members: Mapping[str, Json | Rendered]) -> bytes:
    """Return the canonical form of an object of which some values are rendered already. Its keys must be ASCII.

    Raises MalformedError as `canonical` does.
    """
    texts: list[str] = []
    for key in sorted(members):
        value = members[key]
        if type(value) is Rendered:
            text = value.text
        elif type(value) is str:
            text = encode_basestring(value)
        else:
            text = canonical(value).decode()  # type: ignore[arg-type]  # what is not Rendered is Json
        texts.append(f"{encode_basestring(key)}:{text}")
    try:
        return ("{" + ",".join(texts) + "}").encode()
    except UnicodeEncodeError as error:
        raise _not_unicode(error) from error


def _not_unicode(error: UnicodeEncodeError) -> MalformedError:
    return MalformedError(f"A string is not valid Unicode: {error.object[error.start : error.end]!r}.")


def parse(data: bytes) -> Json:
    """Return the document in `data`, which is canonical: encoding it again gives the same bytes.

    Raises MalformedError, with the reason, on anything else: duplicate keys, floats, white space, another key order.
    """
    if data.isascii():
        try:
            return _parse_plain(data.decode("ascii"))
        except (ValueError, RecursionError, MalformedError):
            pass  # the thorough way below says what is wrong
    return _parse_thoroughly(data)


def _parse_plain(text: str) -> Json:
    """Return the document in a text of ASCII characters, nearly all documents; raise whatever on any other.

    Hooks in Python are the slow part, so the one comparison at the end has to find what they would: encoded again, a
    key that stands twice is gone, an escape that ASCII does not need is another character, and keys that are
    all ASCII are in the order of code points, which for them is that of UTF-16. Numbers are looked at one by one.
    """
    value: Json = _plain_decoder.raw_decode(text)[0]
    if _encode_sorted(value) != text:
        raise ValueError("not canonical")
    if text.count("{") + text.count("[") > MAX_DEPTH:  # brackets in strings count too: then it is looked at in vain
        _check(value, 0)
    return value


def _parse_thoroughly(data: bytes) -> Json:
    try:
        value: Json = json.loads(
            data.decode("utf-8"), object_pairs_hook=_unique, parse_float=_no_float, parse_constant=_no_float
        )
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"Not a JSON document: {error}.") from error
    if canonical(value) != data:
        raise MalformedError("Not in canonical form (RFC 8785): encoding the document again gives other bytes.")
    return value


def parse_hex32(text: object) -> bytes:
    """Return the 32 bytes that 64 lower-case hex digits stand for. Raises MalformedError for anything else."""
    if isinstance(text, str) and _HEX32.fullmatch(text):
        return bytes.fromhex(text)
    raise MalformedError(f"Not 64 lower-case hex digits: {str(text)[:100]!r}.")


def format_time(moment: datetime) -> str:
    """Return RFC 3339 in UTC with exactly six decimals and `Z`. `moment` must carry its zone."""
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def parse_time(text: str) -> datetime:
    """Return the moment `format_time` wrote. Raises MalformedError on any other spelling of it."""
    try:
        if _TIME.fullmatch(text):
            return datetime.fromisoformat(text)
    except ValueError:
        pass  # a day that no calendar has
    raise MalformedError(f"Not a time in UTC with six decimals and Z: {text!r}.")


def tagged(value: Any, dump: Dump) -> Json:
    """Return `value` as JSON that says what Python value it was (docs/formats.md, section 1).

    `dump` is LangGraph's serializer (`dumps_typed`), used for the digest of what JSON has no word for; whatever it
    raises passes through, since a value that cannot be serialized cannot be checkpointed either.
    """
    return _tag(value, dump, 0)


def _tag(value: Any, dump: Dump, depth: int) -> Json:  # noqa: PLR0911 - a table of types reads best as one
    kind = type(value)
    if value is None or kind is bool:
        return value  # type: ignore[no-any-return]
    if kind is str:
        return value if _is_unicode(value) else _opaque(value, dump)
    if kind is int:
        return value if -MAX_INT <= value <= MAX_INT else {"$int": str(value)}
    if kind is float:
        return {"$float": repr(value) if math.isfinite(value) else str(value)}
    if kind is bytes:
        return {"$bytes": base64.b64encode(value).decode("ascii")}
    if kind is datetime and (time := _utc(value)) is not None:
        return {"$time": time}
    if depth < MAX_DEPTH // 2:
        if kind in (list, tuple):
            return [_tag(item, dump, depth + 1) for item in value]
        if kind is dict:
            return _tag_mapping(value, dump, depth)
    return _opaque(value, dump)


def _utc(moment: datetime) -> str | None:
    """Return the moment in UTC, or None where there is none: a zone without offset, a year before 1 or after 9999."""
    try:
        return format_time(moment) if moment.utcoffset() is not None else None
    except OverflowError:
        return None


def _tag_mapping(value: Mapping[Any, Any], dump: Dump, depth: int) -> Json:
    if all(type(key) is str and _is_unicode(key) for key in value):
        return {("$" + key if key.startswith("$") else key): _tag(item, dump, depth + 1) for key, item in value.items()}
    return {"$map": [[_tag(key, dump, depth + 2), _tag(item, dump, depth + 2)] for key, item in value.items()]}


def _opaque(value: Any, dump: Dump) -> Json:
    kind = type(value)
    # Lone surrogates: neither UTF-8 nor msgpack can carry them, so there the digest is over what Python holds.
    serialized = value.encode("utf-8", "surrogatepass") if kind is str else dump(value)[1]
    return {
        "$type": f"{kind.__module__}.{kind.__qualname__}",
        "$repr": _printable(repr(value)),
        "$sha256": hashlib.sha256(serialized).hexdigest(),
    }


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _check(value: Any, depth: int) -> bool:
    """Refuse what has no one encoding. Returns whether all keys are ASCII."""
    kind = type(value)
    if value is None or kind is str or kind is bool:
        return True
    if kind is int:
        if -MAX_INT <= value <= MAX_INT:
            return True
        raise MalformedError(f"An integer beyond +-(2^53-1), of {value.bit_length()} bits.")
    if depth >= MAX_DEPTH:
        raise MalformedError(f"Nested deeper than {MAX_DEPTH} levels.")
    plain = True
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise MalformedError(f"A key that is not a string: {key!r}.")
            plain = _check(item, depth + 1) and plain and key.isascii()
        return plain
    if kind is list:
        for item in value:
            plain = _check(item, depth + 1) and plain
        return plain
    raise MalformedError(f"A {kind.__name__} has no place in canonical JSON: {value!r}.")


def _ordered(value: Any) -> Any:
    """Return a checked value with its keys in the order of RFC 8785, section 3.2.3: by UTF-16 code units."""
    if type(value) is dict:
        keys = sorted(value, key=lambda key: key.encode("utf-16-be", "surrogatepass"))
        return {key: _ordered(value[key]) for key in keys}
    if type(value) is list:
        return [_ordered(item) for item in value]
    return value


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return value


def _no_float(text: str) -> NoReturn:
    raise ValueError(f"a float: {text}")


def _small_int(text: str) -> int:
    value = int(text)
    if -MAX_INT <= value <= MAX_INT:
        return value
    raise ValueError("an integer beyond +-(2^53-1)")


_plain_decoder = json.JSONDecoder(parse_float=_no_float, parse_constant=_no_float, parse_int=_small_int)
