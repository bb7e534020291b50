"""The templates of what a decision writes: which placeholders there are, and that what they name can be there."""

from __future__ import annotations

from collections.abc import Iterator

from countersign.audit.canonical import Json

from .reading import Item
from .schemas import plain, properties

_WHOLE = ("$decision", "$reason", "$values")
_MEMBER = "$values."
_FORMS = "$decision, $reason, $values, $values.<member>"


def template(item: Item) -> Json:
    """Read a template, any JSON value. Raises ConfigurationError on a text with $ that is no placeholder."""
    document = plain(item)
    for place, text in _texts(item):
        if text.startswith("$") and not text.startswith("$$") and not _is_placeholder(text):
            place.fail(f"There is no placeholder {text[:100]!r}.", f"There are {_FORMS}; $$x stands for the text $x.")
    return document


def check_template(item: Item, values: Json, *, expires: bool) -> None:
    """Raise ConfigurationError when a template, read before, uses values that the decision does not ask for.

    `values` is their schema or null; `expires` whether the decision may be taken by the end of the time, when nobody
    gives any.
    """
    for place, text in _texts(item):
        if text != "$values" and not text.startswith(_MEMBER):
            continue
        if values is None:
            place.fail(f"{text!r} has nothing to stand for.", "Say in `values` what is asked for, or leave it out.")
        if expires:
            place.fail(
                f"{text!r} has nothing to stand for when the time is over.", "Name another decision in on_expiry."
            )
        member = text.removeprefix(_MEMBER)
        if text != "$values" and member not in properties(values):
            known = ", ".join(sorted(properties(values)))
            place.fail(f"The schema `values` has no property {member[:100]!r}.", f"It has: {known or 'none'}.")
        if text != "$values" and not _is_required(values, member):
            place.fail(
                f"{member!r} may be missing: the schema does not require it.", f'Add it to required = ["{member}"].'
            )


def _is_placeholder(text: str) -> bool:
    return text in _WHOLE or (text.startswith(_MEMBER) and len(text) > len(_MEMBER))


def _is_required(values: Json, member: str) -> bool:
    required = values.get("required") if isinstance(values, dict) else None
    return isinstance(required, list) and member in required


def _texts(item: Item) -> Iterator[tuple[Item, str]]:
    if isinstance(item.value, dict):
        for key in item.value:
            yield from _texts(item.at(key))
    elif isinstance(item.value, list):
        for index in range(len(item.value)):
            yield from _texts(item.at(index))
    elif isinstance(item.value, str):
        yield item, item.value
