"""Whatever a client sends, by the OpenAPI document and against it: no 5xx, answers of the form that is promised, and
nothing beyond one's role.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, cast

import httpx
import pytest
import pytest_asyncio
import schemathesis
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from conftest import Database
from rights import EVERYBODY, TABLE, Things, opened

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXAMPLES = 2 * max(1, int(os.environ.get("COUNTERSIGN_DRILL", "0")) // 20)
_LEFT_OUT = {("get", "/api/events"), ("delete", "/api/sessions/current")}
"""The one never ends, and the other ends what all the others need."""
_CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
_BAD_CLIENTS = frozenset({"administrator", "pharmacist", "api-key"})
_HOW = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    verbosity=Verbosity.quiet,
    suppress_health_check=list(HealthCheck),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def things(shared_database: Database) -> AsyncIterator[Things]:
    async with opened(shared_database) as things:
        yield things


async def test_whatever_is_sent_is_answered_as_promised_and_within_the_role(things: Things) -> None:
    callers = {name: await things.enter(name) for name in sorted(EVERYBODY)}
    callers["api-key"] = await things.with_key("cases:read", "cases:start", "reviews:read")
    document = (await things.api.get("/schema/openapi.json")).json()
    await asyncio.to_thread(_send_all, things, document, callers)


def _send_all(things: Things, document: dict[str, Any], callers: dict[str, dict[str, str]]) -> None:
    schema = schemathesis.openapi.from_dict(document)
    with httpx.Client(base_url=things.api.base_url, timeout=60) as client:
        for found in schema.get_all_operations():
            operation: Any = cast("Any", found).ok()
            if (operation.method, operation.path) not in _LEFT_OUT:
                _send(things, client, operation, callers)


def _send(things: Things, client: httpx.Client, operation: Any, callers: dict[str, dict[str, str]]) -> None:
    row = TABLE[operation.method, operation.path]
    known = things.ids | {"case": things.case, "review": things.review}

    def one(case: Any, existing: bool, whose: frozenset[str]) -> None:  # noqa: FBT001 - drawn
        if existing:
            case.path_parameters = {
                name: known.get(name, value) for name, value in (case.path_parameters or {}).items()
            }
        for name in sorted(whose):
            headers = callers[name]
            said = _said(client, case, headers)
            if said is None:
                return
            case.validate_response(said, checks=_CHECKS)
            if not row.public and name in EVERYBODY - row.may:
                assert said.status_code >= 400, (operation.label, name, said.text)

    for mode, whose in ((GenerationMode.POSITIVE, frozenset(callers)), (GenerationMode.NEGATIVE, _BAD_CLIENTS)):
        strategy = operation.as_strategy(generation_mode=mode)
        # A request without parameters and body cannot be wrong in any.
        with suppress(Unsatisfiable):
            seed(0)(_HOW(given(strategy, st.booleans(), st.just(whose))(one)))()


def _said(client: httpx.Client, case: Any, headers: dict[str, str]) -> httpx.Response | None:
    """Return the answer to a case in somebody's name; None where it has a header that no client sends."""
    how = case.as_transport_kwargs(base_url=str(client.base_url))
    named = {key.lower(): value for key, value in how["headers"].items()}
    request = client.build_request(
        how["method"],
        how["url"],
        params=how.get("params"),
        json=how.get("json"),
        content=how.get("data"),
        headers={**named, **headers},
    )
    client.cookies.clear()
    try:
        return client.send(request)
    except httpx.LocalProtocolError:
        return None
