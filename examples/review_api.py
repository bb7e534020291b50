"""A review API in FastAPI: start an order, decide on it. Its endpoints know nothing of the audit.

Run it with an ASGI server of your choice; as a program it plays one case against itself.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Any, Literal

import httpx
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel
from starlette.types import ASGIApp, Receive, Scope, Send

from countersign.audit import AsyncAuditedPostgresSaver, AuditedPostgresSaver, acting_as, attach
from countersign.audit.migrate import migrate
from countersign.service.database import database
from countersign.service.order_workflow import new_order, order_workflow


class NewOrder(BaseModel):
    """What a ward asks for."""

    patient: str
    drug: Literal["warfarin", "methotrexate", "vancomycin", "heparin"]


class Decision(BaseModel):
    """What a pharmacist says to a proposal."""

    order_id: str
    decision: Literal["approved", "rejected", "needs_revision"]
    notes: str = ""


def async_api(graph: Any) -> FastAPI:
    """Return the API over a graph that is awaited."""
    api = FastAPI()

    @api.post("/orders/start")
    async def start(new: NewOrder) -> dict[str, Any]:
        order_id = _new_id()
        return _answer(order_id, await graph.ainvoke(new_order(new.patient, new.drug), _config(order_id)))

    @api.post("/orders/review")
    async def review(said: Decision) -> dict[str, Any]:
        config = _config(said.order_id)
        _must_wait((await graph.aget_state(config)).next)
        await graph.aupdate_state(config, {"decision": said.decision, "notes": said.notes})
        return _answer(said.order_id, await graph.ainvoke(None, config))

    return api


def sync_api(graph: Any) -> FastAPI:
    """Return the same API over a graph that is called."""
    api = FastAPI()

    @api.post("/orders/start")
    def start(new: NewOrder) -> dict[str, Any]:
        order_id = _new_id()
        return _answer(order_id, graph.invoke(new_order(new.patient, new.drug), _config(order_id)))

    @api.post("/orders/review")
    def review(said: Decision) -> dict[str, Any]:
        config = _config(said.order_id)
        _must_wait(graph.get_state(config).next)
        graph.update_state(config, {"decision": said.decision, "notes": said.notes})
        return _answer(said.order_id, graph.invoke(None, config))

    return api


def audited_api(saver: AsyncAuditedPostgresSaver | AuditedPostgresSaver) -> ASGIApp:
    """Return the API on an audited graph: `attach` is the only change, and the caller's id goes with each request."""
    graph = attach(order_workflow().compile(interrupt_before=["review"]), saver, name="medication-order", version="1")
    return WhoActs(async_api(graph) if isinstance(saver, AsyncAuditedPostgresSaver) else sync_api(graph))


class WhoActs:
    """Stands for your login: takes the caller's id from a header that your proxy sets, and no one else can."""

    def __init__(self, api: ASGIApp) -> None:
        """Wrap an API."""
        self.api = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request in the name of its caller."""
        user = dict(scope.get("headers", ())).get(b"x-user")
        if user is None:
            await self.api(scope, receive, send)
            return
        with acting_as(user.decode("ascii"), via="proxy"):
            await self.api(scope, receive, send)


def _new_id() -> str:
    # Never the patient's id: a second order would start over the first.
    return f"order-{uuid.uuid4()}"


def _must_wait(coming: tuple[str, ...]) -> None:
    if coming != ("review",):
        raise HTTPException(409, "this order does not wait for a review")


def _answer(order_id: str, state: dict[str, Any]) -> dict[str, Any]:
    status = "complete" if state["order"] else "awaiting_review"
    return {"order_id": order_id, "status": status, **{k: state[k] for k in ("dose_mg", "flags", "order")}}


def _config(order_id: str) -> dict[str, Any]:
    return {"configurable": {"thread_id": order_id}}


async def main() -> None:
    """Play one case against the async API."""
    with database() as target:
        migrate(target.owner_url, target.home)
        async with (
            AsyncAuditedPostgresSaver.from_conn_string(target.app_url, home=target.home) as saver,
            httpx.AsyncClient(transport=httpx.ASGITransport(audited_api(saver)), base_url="http://api") as client,
        ):
            new = {"patient": "P-1", "drug": "warfarin"}
            started = (await client.post("/orders/start", json=new, headers={"x-user": "ward-3"})).json()
            print(started)
            said = {"order_id": started["order_id"], "decision": "approved"}
            print((await client.post("/orders/review", json=said, headers={"x-user": "pharmacist-17"})).json())


if __name__ == "__main__":
    asyncio.run(main())
