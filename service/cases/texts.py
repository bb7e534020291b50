"""What callers send, looked at before anything is done with it: texts, values, and what a schema says of them. Pure.

Every refusal is an InvalidError whose `place` names the member of the request.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, NoReturn

import jsonschema
from referencing import Registry

from countersign.audit.canonical import Json, tagged
from countersign.service.errors import InvalidError

MAX_TEXT = 4_000
MAX_INPUT = 1_000_000
"""Bytes of the canonical form of what starts a case or edits it."""
MAX_NUMBER = 200
_LINES = "\n\t"


def check_text(value: object, place: str, *, needed: bool = True, most: int = MAX_TEXT) -> str:
    """Return a text that people read for as long as the entry is: without space around it, no control characters but
    line breaks and tabs, valid Unicode, at most `most` characters. Raises InvalidError.
    """
    if value is None and not needed:
        return ""
    if not isinstance(value, str):
        raise _invalid(place, "is not a text", "Send a string.")
    text = value.replace("\r\n", "\n").strip()
    if needed and not text:
        raise _invalid(place, "is empty", "Say why: it is read for as long as the entry is.")
    if len(text) > most:
        raise _invalid(place, f"has {len(text)} characters; {most} are accepted", "Say it shorter.")
    if any(_refused(char) for char in text):
        raise _invalid(
            place,
            "has a control character, a mark that turns writing around, or what is no Unicode",
            "Send plain text; line breaks are fine.",
        )
    return text


def _refused(char: str) -> bool:
    # Cf holds the marks by which a text can be shown in another order than it was written in (U+202E and its like);
    # joiners and the soft hyphen are needed to write some languages.
    category = unicodedata.category(char)
    turns = "\u202a" <= char <= "\u202e" or "\u2066" <= char <= "\u2069"
    return (category in ("Cc", "Cs") and char not in _LINES) or turns


def check_object(value: object, place: str) -> dict[str, Json]:
    """Return a JSON object as it goes into an entry, tagged. Raises InvalidError for anything else, and above 1 MB."""
    if not isinstance(value, dict):
        raise _invalid(place, "is not a JSON object", "Send an object whose members are fields of the state.")
    found: Any = as_tagged(value, place)
    return found  # type: ignore[no-any-return]  # an object whose keys are texts stays one


def as_tagged(value: object, place: str) -> Json:
    """Return a JSON value from a caller as entries hold it: floats and large numbers tagged. Raises InvalidError."""
    size = 0
    for item, depth in _walk(value, place):
        size += 8 + (len(item) if isinstance(item, str) else 0)
        if depth > _DEEPEST:
            raise _invalid(place, f"is nested deeper than {_DEEPEST} levels", "Send flatter values.")
        if size > MAX_INPUT:
            raise _invalid(place, f"is larger than {MAX_INPUT} bytes", "Pass a reference to what is that large.")
    return tagged(value, _no_dump(place))


_DEEPEST = 60
_LEAST, _MOST = -(2**63), 2**64 - 1
"""What LangGraph's serializer can store of whole numbers."""


def _walk(value: object, place: str) -> Iterator[tuple[object, int]]:
    left: list[tuple[object, int]] = [(value, 0)]
    while left:
        item, depth = left.pop()
        yield item, depth
        if isinstance(item, Mapping):
            if not all(isinstance(key, str) for key in item):
                raise _invalid(place, "has keys that are no texts", "Send JSON.")
            left += [(part, depth + 1) for pair in item.items() for part in pair]
        elif isinstance(item, list):
            left += [(part, depth + 1) for part in item]
        elif isinstance(item, str):
            try:
                item.encode()
            except UnicodeEncodeError as error:
                raise _invalid(place, "holds a text that is no Unicode", "Send valid Unicode.") from error
            if "\0" in item:
                raise _invalid(place, "holds a text with a NUL, which no state can keep", "Send text.")
        elif isinstance(item, int) and not _LEAST <= item <= _MOST:
            raise _invalid(place, "holds a number that no state can keep: of more than 64 bits", "Send it as a text.")
        elif item is not None and not isinstance(item, bool | int | float):
            raise _invalid(place, f"holds a {type(item).__name__}, which is no JSON", "Send JSON.")


def _no_dump(place: str) -> Any:
    def dump(value: object) -> NoReturn:
        raise _invalid(place, f"holds a {type(value).__name__}, which is no JSON", "Send JSON.")

    return dump


def check_values(schema: Json, values: object, place: str) -> None:
    """Pass if `values` are what a JSON Schema (2020-12) of the policy allows. Raises InvalidError with the place.

    Nothing is fetched: a reference that leads out of the schema fails.
    """
    validator = jsonschema.Draft202012Validator(
        schema,  # type: ignore[arg-type]
        registry=Registry(),
        format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER,
    )
    try:
        error = min(validator.iter_errors(values), key=lambda found: list(map(str, found.absolute_path)), default=None)
    except Exception as problem:  # a reference that leads nowhere, or a pattern that is none: the policy's fault
        raise _invalid(place, f"cannot be held against the policy's schema: {problem}", "Mend the policy.") from problem
    if error is not None:
        at = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
        raise _invalid(
            place + at, f"is not what the policy asks for: {error.message[:300]}", "See the review's fields."
        )


def check_known(members: Iterable[str], known: Collection[str] | None, place: str) -> None:
    """Pass if all members of the object at `place` are `known` fields of the state; None: they are not known here.

    Raises InvalidError for the first that is not. LangGraph would pass it over in silence, and a case would run on less
    than its starter gave it.
    """
    if known is None:
        return
    unknown = sorted(set(members) - set(known))
    if unknown:
        name = unknown[0][:100]
        raise InvalidError(
            f"The graph's state has no field {name!r}.",
            remedy=f"It has {', '.join(sorted(known))}.{near(name, known)}",
            facts={"place": f"{place}.{name}", "known": [*sorted(known)]},
        )


def names_of(given: object) -> list[str]:
    """Return the names of an object's members as the caller wrote them, which entries hold in another form."""
    return [*given] if isinstance(given, dict) else []


def near(name: str, known: Iterable[str]) -> str:
    """Return the question whether a name was meant that is nearly this one; nothing where none is."""
    found = get_close_matches(name, list(known), n=1)
    return f" Did you mean {found[0]}?" if found else ""


def _invalid(place: str, what: str, remedy: str) -> InvalidError:
    return InvalidError(f"The member {place} {what}.", remedy=remedy, facts={"place": place})
