"""JSON schemas in countersign.toml: Draft 2020-12, for an object, complete in themselves, with an end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from countersign.audit.canonical import MAX_INT, Json

from .reading import Item

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ELSEWHERE = ("$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$vocabulary")
# Keywords that apply to the same value again, and so do not come nearer to an end.
_SAME_VALUE = ("not", "if", "then", "else")
_SAME_VALUE_LISTS = ("allOf", "anyOf", "oneOf")
_DEEPEST = 40


def schema(item: Item) -> dict[str, Json]:
    """Read a JSON schema of an object. Where it does not say what other members may be, there may be none.

    Raises ConfigurationError when it is no valid schema, refers to anything outside itself, could be followed for ever,
    or holds what canonical JSON has no form for.
    """
    found: dict[str, Any] = item.of(dict)
    _check_plain(item, 0)
    if found.get("$schema", _DIALECT) != _DIALECT:
        item.fail("Another dialect of JSON Schema.", f'Write "{_DIALECT}", or leave it out.', "$schema")
    if found.get("type") != "object":
        item.fail("A schema of values describes an object.", 'Write type = "object" and name its properties.')
    try:
        Draft202012Validator.check_schema(found)
    except SchemaError as error:
        place = [*error.absolute_path]
        item.fail(
            f"No JSON schema: {' '.join(error.message.split())[:300]}.", "See JSON Schema, draft 2020-12.", *place
        )
    except RecursionError:
        item.fail("The schema is nested too deeply.", "Make it flatter.")
    for path, part in _parts(found, ()):
        _check_references(item, path, part)
    _check_ends(item, found)
    return {"additionalProperties": False, **found}


def fields(item: Item) -> dict[str, Json]:
    """Read a JSON schema of fields that may be changed: `schema`, of those that its properties name and no other."""
    found = schema(item)
    if not properties(found):
        item.fail("It names no field.", "Name each field that may be changed in `properties`.")
    if found["additionalProperties"] is not False or "patternProperties" in found:
        item.fail("It lets fields be changed that it does not name.", "Name each one in `properties`, and no more.")
    return found


def properties(document: Json) -> frozenset[str]:
    """Return the members that a schema, read by `schema`, names."""
    named = document.get("properties") if isinstance(document, dict) else None
    return frozenset(named) if isinstance(named, dict) else frozenset()


def _check_plain(item: Item, depth: int) -> None:
    """Refuse what canonical JSON has no form for: floats, dates, large integers; and nesting without end."""
    value = item.value
    if depth > _DEEPEST:
        item.fail("It is nested too deeply.", f"At most {_DEEPEST} levels.")
    if isinstance(value, dict):
        for key in value:
            _check_plain(item.at(key), depth + 1)
    elif isinstance(value, list):
        for index in range(len(value)):
            _check_plain(item.at(index), depth + 1)
    elif type(value) not in (str, bool, int):
        what = f"A {type(value).__name__} has no canonical form in JSON."
        item.fail(what, "Use whole numbers (of a smaller unit, such as micrograms), texts, true and false.")
    elif type(value) is int and abs(value) > MAX_INT:
        item.fail("The number is too large for JSON readers in other languages.", f"At most {MAX_INT}.")


def plain(item: Item) -> Json:
    """Read any JSON value that has a canonical form."""
    _check_plain(item, 0)
    value: Json = item.value
    return value


def _parts(document: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], dict[str, Any]]]:
    """Yield every object in a schema, also such as are no schemas themselves: a reference hides in none of them."""
    if isinstance(document, dict):
        yield path, document
        for key, value in document.items():
            yield from _parts(value, (*path, key))
    elif isinstance(document, list):
        for index, value in enumerate(document):
            yield from _parts(value, (*path, index))


def _check_references(item: Item, path: tuple[str | int, ...], part: dict[str, Any]) -> None:
    for word in _ELSEWHERE:
        if word in part and not _is_name(path):
            item.fail(f"{word} is not supported.", 'Refer to "#/$defs/NAME" of the same schema only.', *path, word)
    target = part.get("$ref")
    if target is None or _is_name(path):
        return
    if not isinstance(target, str) or not target.startswith("#"):
        item.fail("It refers to another document.", 'Refer to "#/$defs/NAME" of the same schema only.', *path, "$ref")
    if _resolve(item.value, target) is None:
        item.fail(f"There is no {target[:100]!r} in this schema.", "Name one of its $defs.", *path, "$ref")


def _is_name(path: tuple[str | int, ...]) -> bool:
    """Whether the keys of the object at `path` are names of properties, not words of JSON Schema."""
    return bool(path) and path[-1] in ("properties", "$defs", "patternProperties", "dependentSchemas")


def _resolve(document: Any, target: str) -> Any:
    """Return what a reference into the same document points to, or None."""
    found = document
    for step in target[1:].split("/")[1:] if target != "#" else ():
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and key.isdecimal() and int(key) < len(found):
            found = found[int(key)]
        elif isinstance(found, dict) and key in found:
            found = found[key]
        else:
            return None
    return found if isinstance(found, (dict, bool)) else None


def _check_ends(item: Item, document: dict[str, Any]) -> None:
    """Refuse references that lead back to themselves for one and the same value: a validator would never return."""
    done: set[int] = set()

    def follow(part: Any, open_: tuple[int, ...]) -> None:
        if not isinstance(part, dict) or id(part) in done:
            return
        if id(part) in open_:
            item.fail("It refers to itself without end.", "Let a property or an item lie between.")
        for inner in _same_value(document, part):
            follow(inner, (*open_, id(part)))
        done.add(id(part))

    for _, part in _parts(document, ()):
        follow(part, ())


def _same_value(document: Any, part: dict[str, Any]) -> Iterator[Any]:
    if isinstance(target := part.get("$ref"), str):
        yield _resolve(document, target)
    for word in _SAME_VALUE:
        yield part.get(word)
    for word in _SAME_VALUE_LISTS:
        yield from part.get(word) or ()
    yield from (part.get("dependentSchemas") or {}).values()
