"""What nobody can mean is refused by name: a member that a request's form does not have, and one that is there twice.

Passed over in silence a misspelt member would leave a request that says less than its sender thinks, and of two of one
name every reader might take another.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from litestar import Request
from msgspec import inspect

from ..cases.texts import near
from ..errors import InvalidError
from .models import Asked

_LONGEST = 100


async def refuse_unknown_members(request: Request[Any, Any, Any]) -> None:
    """Raise InvalidError, with the place, where a request's body has a member that is not known, or one twice.

    What is no JSON at all, or of another form, is left to whoever reads it next.
    """
    field = request.route_handler.parsed_data_field
    form = field.annotation if field is not None else None
    if not isinstance(form, type) or not issubclass(form, Asked):
        return
    try:
        document = json.loads(await request.body(), object_pairs_hook=_members)
    except (ValueError, RecursionError):
        return
    for place, known in _unknown(document, _form_of(form), ""):
        name = place.rpartition(".")[2]
        raise InvalidError(
            f"The request has a member that its form does not have: {place}.",
            remedy=f"Known there are: {', '.join(known) or 'none'}.{near(name, known)}",
            facts={"place": place, "known": [*known]},
        )


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise InvalidError(
                f"The request has the member {_short(name)} twice.",
                remedy="Send it once.",
                facts={"place": _short(name)},
            )
        found[name] = value
    return found


@cache
def _form_of(form: type[Asked]) -> inspect.Type:
    return inspect.type_info(form)


def _unknown(value: Any, form: inspect.Type, place: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the place of each member of `value` that its form does not have, and the names of those it has there."""
    if isinstance(form, inspect.Metadata):
        yield from _unknown(value, form.type, place)
    elif isinstance(form, inspect.UnionType):
        for one in form.types:
            yield from _unknown(value, one, place)
    elif isinstance(form, inspect.ListType) and isinstance(value, list):
        for number, item in enumerate(value):
            yield from _unknown(item, form.item_type, f"{place}[{number}]")
    elif isinstance(form, inspect.StructType) and isinstance(value, dict):
        known = {field.encode_name: field.type for field in form.fields}
        for name, item in value.items():
            where = f"{place}.{_short(name)}" if place else _short(name)
            if name in known:
                yield from _unknown(item, known[name], where)
            else:
                yield where, [*known]


def _short(name: str) -> str:
    return name[:_LONGEST].encode("ascii", "backslashreplace").decode()
