"""The forecast of how PostgreSQL prints jsonb, compared with PostgreSQL."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from countersign.audit.jsonb import jsonb_text
from countersign.service.embedded import EmbeddedDatabase
from drills import share

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
DOCUMENTS = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=30)


@pytest.fixture(scope="module")
def conn(server: EmbeddedDatabase) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(server.admin_url) as conn:
        yield conn


def printed(conn: psycopg.Connection[Any], document: str) -> str:
    row = conn.execute("SELECT (%s::jsonb)::text", (document,)).fetchone()
    assert row
    return str(row[0])


@settings(max_examples=share(400), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(DOCUMENTS)
def test_the_forecast_is_what_the_server_prints(conn: psycopg.Connection[Any], document: Any) -> None:
    foretold = jsonb_text(document)
    sent = json.dumps(document)
    if "\\u0000" in sent:  # taken for NUL, which costs time and nothing else
        assert foretold is None
        return
    assert foretold == printed(conn, sent)
    assert foretold == printed(conn, foretold)


@pytest.mark.parametrize(
    "document",
    [
        1e22,
        1.0,
        -0.0,
        1e-7,
        1.5e300,
        2**53 + 1,
        -(2**200),
        {"bb": 1, "a": 2, "é": 3, "": 4},
        '\x7f\x1f"\\/\u2028',
        {1: 2},
    ],
    ids=repr,
)
def test_what_other_readers_get_wrong(conn: psycopg.Connection[Any], document: Any) -> None:
    assert jsonb_text(document) == printed(conn, json.dumps(document))


@pytest.mark.parametrize("document", [math.nan, math.inf, "\0", "\ud800", {"a": ["\udfff"]}, {1, 2}], ids=repr)
def test_what_jsonb_cannot_hold_is_not_foretold(document: Any) -> None:
    assert jsonb_text(document) is None
