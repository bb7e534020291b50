"""Beginning a case: its first entry, its row and the job that runs it, in one transaction."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from countersign.audit.canonical import Json
from countersign.audit.chain import START
from countersign.audit.entry import EntryDraft, Workflow
from countersign.audit.errors import MalformedError
from countersign.audit.kinds import Kind
from countersign.audit.standing import Registered
from countersign.service.engine.caller_config import clean_config
from countersign.service.engine.jobs import defer_mandate
from countersign.service.errors import InvalidError
from countersign.service.identity.caller import Caller

from .held import Held, Room
from .indexing import index
from .rights import acting, newest, policy_of, registered_as
from .texts import MAX_NUMBER, as_tagged, check_known, check_object, check_text, names_of


async def start(
    room: Room,
    caller: Caller,
    workflow: str,
    given: object,
    *,
    case_number: object = None,
    config: object = None,
    offered: Mapping[str, str],
    name: bytes | None = None,
) -> str:
    """Begin a case with `given`, a JSON object, as its input; return its id.

    `name` are 16 bytes or more that nobody else can choose, from which the id is made: the same begin one case only,
    and whoever comes again with them is given its id. It runs on the version that is `offered` of the workflow, else on
    the one registered last. Raises InvalidError, also for a member of the input that the state of its graph does not
    have; AbsentError where there is no such workflow, ForbiddenError for whoever may not start it.
    """
    payload: dict[str, Json] = {"input": check_object(given, "input")}
    names = names_of(given)
    if case_number is not None:
        payload["case_number"] = check_text(case_number, "case_number", most=MAX_NUMBER)
    if config is not None:
        payload["config"] = as_tagged(_cleaned(config), "config")
    case = str(uuid.UUID(bytes=(name or room.random(16))[:16], version=4))
    async with room.holding(case, new=True) as held:
        if held.followed.link != START:
            return case
        found = _version(held, workflow, offered)
        whose = Workflow(workflow, found.version)
        policy = policy_of(found)
        who = acting(held.directory, caller, policy.acts.start, workflow, held.now, f"start a case of {workflow}")
        detail: dict[str, Json] = {"registered": found.place.as_json(), "standing": who.standing.place.as_json()}
        check_known(names, room.trails.fields(whose), "input")
        await held.append(EntryDraft(case, Kind.CASE_OPENED, who.actor, whose, detail=detail, payload=payload))
        await index(held)
        await defer_mandate(held.conn, case=case, mandate=1, workflow=workflow, version=found.version)
        await held.tell()
    return case


def _version(held: Held, workflow: str, offered: Mapping[str, str]) -> Registered:
    version = offered.get(workflow)
    return registered_as(held.directory, workflow, version) if version else newest(held.directory, workflow)


def _cleaned(config: object) -> dict[str, Json]:
    if not isinstance(config, dict):
        raise InvalidError("The member config is not an object.", facts={"place": "config"})
    try:
        return clean_config(config)
    except MalformedError as error:
        raise InvalidError(error.message, facts={"place": "config"}) from error
