"""Whatever a client sends, by the OpenAPI document and against it: no 5xx, answers of the form that is promised, and
nothing beyond one's role.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
import pytest_asyncio
import schemathesis
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from conftest import Database
from rights import EVERYBODY, TABLE, Things, opened

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXAMPLES = 3 * max(1, int(os.environ.get("COUNTERSIGN_DRILL", "0")) // 20)
_LEFT_OUT = {("get", "/api/events"), ("delete", "/api/sessions/current")}
"""The one never ends, and the other ends what all the others need."""
_CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
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


@pytest.mark.parametrize("name", [*sorted(EVERYBODY), "api-key"])
async def test_whatever_is_sent_is_answered_as_promised_and_within_the_role(things: Things, name: str) -> None:
    headers = await (
        things.with_key("cases:read", "cases:start", "reviews:read") if name == "api-key" else things.enter(name)
    )
    document = (await things.api.get("/schema/openapi.json")).json()
    await asyncio.to_thread(_send_all, things, document, name, headers)


def _send_all(things: Things, document: dict[str, Any], name: str, headers: dict[str, str]) -> None:
    schema = schemathesis.openapi.from_dict(document)
    with httpx.Client(base_url=things.api.base_url, headers=headers, timeout=60) as client:
        for found in schema.get_all_operations():
            operation = found.ok()
            if (operation.method, operation.path) not in _LEFT_OUT:
                _send(things, client, operation, name)


def _send(things: Things, client: httpx.Client, operation: APIOperation, name: str) -> None:
    row = TABLE[operation.method, operation.path]
    known = things.ids | {"case": things.case, "review": things.review}

    def one(case: Any, existing: bool) -> None:  # noqa: FBT001 - drawn
        if existing:
            case.path_parameters = {
                **case.path_parameters,
                **{k: v for k, v in known.items() if k in case.path_parameters},
            }
        how = case.as_transport_kwargs(base_url=str(client.base_url))
        how["headers"] = {**{k.lower(): v for k, v in how["headers"].items()}, **client.headers}
        body = how.pop("data", None)
        request = client.build_request(
            how["method"],
            how["url"],
            params=how.get("params"),
            json=how.get("json"),
            content=body,
            headers=how["headers"],
        )
        try:
            said = client.send(request)
        except httpx.LocalProtocolError:
            return  # a header that no client sends
        client.cookies.clear()
        case.validate_response(said, checks=_CHECKS)
        if not row.public and name in EVERYBODY - row.may:
            assert said.status_code >= 400, (operation.label, said.text)

    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
        strategy = operation.as_strategy(generation_mode=mode)
        # A request without parameters and body cannot be wrong in any.
        with suppress(Unsatisfiable):
            seed(0)(_HOW(given(strategy, st.booleans())(one)))()
