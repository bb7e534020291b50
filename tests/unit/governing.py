"""Governed cases made in memory and signed with real (test) keys: honest by default, forged where a test says so."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from countersign.audit.canonical import Json, format_time
from countersign.audit.casestate import Asked
from countersign.audit.chain import START, Checked, Link, check_entry
from countersign.audit.entry import SYSTEM, Actor, CheckpointRef, Entry, EntryDraft, Workflow
from countersign.audit.governed import CaseReplay
from countersign.audit.keys import FileKey, Ring
from countersign.audit.mandates import actor_of
from countersign.audit.reviews import Review
from countersign.audit.standing import Directory, part_digest, version_of
from countersign.audit.statement import Statement, annotation_of, reason_digest, shown_digest
from unit.samples import DEPLOYMENT, GRAPH, ORIGIN, RING, TRAIL, WHEN, sealed

NAME = "orders"
ADMIN = Actor("u-admin", "session+password", "administrator")
ROLES = {
    "u-pre": "prescriber",
    "u-pha": "pharmacist",
    "u-pha2": "pharmacist",
    "u-chi": "chief",
    "u-sup": "supervisor",
    "u-pre2": "prescriber",
}
"""Everybody and their role for the workflow. u-pre starts cases."""
SALT = bytes(range(32))
DEFAULT: Any = object()


def decision(name: str, *, releases: bool, **members: Any) -> dict[str, Json]:
    write: Json = {"decision": "$decision", "notes": "$reason"}
    rule: dict[str, Json] = {"meaning": f"I say {name}.", "reason": not releases, "write": write, "values": None}
    return {"name": name, "releases": releases, **rule, **members}


def gate(name: str = "pharmacist", when: str = "before", node: str = "review", **members: Any) -> dict[str, Json]:
    made: dict[str, Json] = {
        "name": name,
        "when": when,
        "node": node,
        "question": "May this be given?",
        "stages": [{"role": "pharmacist", "count": 1}],
        "accept": "signed",
        "separation": ["starter", "editor"],
        "decisions": [decision("approved", releases=True), decision("rejected", releases=False)],
        "edit": {"meaning": "I have changed it.", "values": {"type": "object"}},
        "times": {"remind": 60, "escalate": 120, "expire": 3600},
        "escalate_to": "chief",
        "on_expiry": "rejected",
    }
    return made | members


def question_gate(**members: Any) -> dict[str, Json]:
    answers: Json = [
        decision("approved", releases=True, write="$values.answer", values={"type": "object"}),
        decision("rejected", releases=False, write="no"),
    ]
    where = {"name": "asked", "when": "interrupt", "node": "ask", "decisions": answers}
    return gate(**(where | members))


def policy(*gates: dict[str, Json], **members: Any) -> dict[str, Json]:
    made: dict[str, Json] = {
        "spec": "countersign/policy/1",
        "workflow": NAME,
        "title": "Orders",
        "fallback": "supervisor",
        "retention": {"class": "clinical", "days": 3650},
        "acts": {
            "start": ["prescriber"],
            "correct": ["pharmacist"],
            "redirect": {"roles": ["supervisor"], "to": ["analyze"]},
            "stop": ["supervisor"],
            "move": ["supervisor"],
            "retry": ["supervisor"],
            "read": ["prescriber"],
        },
        "gates": [*(gates or (gate(),))],
    }
    return made | members


def person(who: str, role: str | None = None) -> Actor:
    return Actor(who, "session+password", role or ROLES.get(who))


class Deployment(NamedTuple):
    """Of which log a case is, and who signs."""

    origin: str = ORIGIN
    deployment: FileKey = DEPLOYMENT
    graph: FileKey = GRAPH
    ring: Ring = RING


MADE_UP = Deployment()
_of: ContextVar[Deployment] = ContextVar("deployment", default=MADE_UP)


@contextmanager
def deployed(deployment: Deployment) -> Iterator[None]:
    """Make whatever case is written inside the block one of this deployment."""
    token = _of.set(deployment)
    try:
        yield
    finally:
        _of.reset(token)


class World:
    """A deployment with one case: `@system` and the case's trail, each entry a second behind the one before."""

    def __init__(self, document: Mapping[str, Json] | None = None) -> None:
        self.of = _of.get()
        self.policy: dict[str, Json] = dict(document or policy())
        self.now = WHEN
        self.entries: list[Entry] = []
        self.system: list[Entry] = []
        self.order: list[Entry] = []
        """All entries of both trails, as they were written."""
        self.places: dict[str, dict[str, Json]] = {}
        self.workflow = Workflow(NAME, "")
        self.tip: str | None = None
        self.parent: str | None = None
        self.saved = 0
        self.run = ""
        self.runs = 0
        self.nonces = 0
        self.state: dict[str, Json] = {"dose": 5}
        """What views show, when they show what is."""
        self._directory = Directory()
        self._replay = CaseReplay(self.of.origin, TRAIL, self._directory)
        self._known = [0, 0]
        self._links = [START, START]
        for who in ROLES:
            self.person(who)
        for who, role in ROLES.items():
            self.grant(who, role)
        self.register(self.policy)

    # What stands in @system

    def later(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def dated(self, moment: datetime) -> None:
        """Have the next entry dated so, whatever those before it are."""
        self.now = moment - timedelta(seconds=1)

    def about(self, kind: str, subject: str, member: str = "user", **detail: Any) -> Entry:
        before: dict[str, Any] = {} if "before" in detail else {"before": self.places.get(subject)}
        payload, by = detail.pop("payload", None), detail.pop("by", None)
        draft = EntryDraft(
            "@system",
            kind,
            actor=person(by) if by else ADMIN,
            detail={member: subject, **before, **detail},
            payload=payload,
        )
        entry = self._append(self.system, draft, DEPLOYMENT)
        self.places[subject] = {"seq": entry.seq, "leaf_hash": entry.leaf_hash.hex()}
        return entry

    def person(self, who: str) -> None:
        self.about("user.created", who, payload={"username": who, "printed_name": who.upper()})
        self.about("credential.enrolled", who, credential=f"c-{who}", method="password", own=True)

    def grant(self, who: str, role: str, workflow: str = NAME, **until: Any) -> str:
        name = f"g-{who}-{role}-{len(self.system)}"
        self.about("grant.given", who, grant=name, role=role, workflow=workflow, **{"from": format_time(WHEN)}, **until)
        return name

    def key(self, name: str, roles: Sequence[str], by: str = "u-sup") -> None:
        draft = EntryDraft(
            "@system",
            "api-key.created",
            actor=person(by),
            detail={
                "key": name,
                "scopes": ["cases"],
                "roles": [*roles],
                "workflow": NAME,
                "until": format_time(WHEN + timedelta(days=9)),
                "before": None,
            },
            payload={"name": name},
        )
        entry = self._append(self.system, draft, DEPLOYMENT)
        self.places[name] = {"seq": entry.seq, "leaf_hash": entry.leaf_hash.hex()}

    def log_event(self, kind: str, **detail: Json) -> Entry:
        """Write an entry about the log itself."""
        return self._append(self.system, EntryDraft("@system", kind, actor=ADMIN, detail=detail), DEPLOYMENT)

    def register(self, document: Mapping[str, Json], **code: Json) -> dict[str, Json]:
        documents: dict[str, Json] = {"policy": dict(document), "graph": {}, "code": dict(code), "packages": {}}
        parts: dict[str, Json] = {name: part_digest(part) for name, part in documents.items()}
        version = version_of(NAME, parts)
        detail: dict[str, Json] = {"name": NAME, "version": version, "parts": parts}
        draft = EntryDraft("@system", "workflow.registered", actor=ADMIN, detail=detail, payload=documents)
        entry = self._append(self.system, draft, DEPLOYMENT)
        self.workflow = Workflow(NAME, version)
        self.registered: dict[str, Json] = {"seq": entry.seq, "leaf_hash": entry.leaf_hash.hex()}
        return self.registered

    # What stands in the case's trail

    def add(self, kind: str, signer: FileKey = DEPLOYMENT, **fields: Any) -> Entry:
        given: dict[str, Any] = {"workflow": self.workflow} | fields
        return self._append(self.entries, EntryDraft(TRAIL, kind, **given), signer)

    def _append(self, entries: list[Entry], draft: EntryDraft, signer: FileKey) -> Entry:
        self.later(1)
        salt = hashlib.sha256(f"{draft.trail} {len(entries)}".encode()).digest()
        key = self.of.graph if signer is GRAPH else self.of.deployment
        last = entries[-1] if entries else None
        entry = sealed(draft, last, signer=key, occurred_at=self.now, salt=salt, origin=self.of.origin)
        entries.append(entry)
        self.order.append(entry)
        return entry

    def act(self, kind: str, who: str, role: str | None = None, *, via: str = "session+password", **fields: Any) -> int:
        detail = {"standing": fields.pop("standing", None) or self.places[who], **fields.pop("detail", {})}
        actor = Actor(who, via, role or ROLES.get(who))
        return self.add(kind, actor=actor, detail=detail, **fields).seq

    def open(self, who: str = "u-pre", role: str | None = None, **fields: Any) -> int:
        detail = {"registered": fields.pop("registered", self.registered)}
        return self.act("case.opened", who, role, detail=detail, payload={"input": {"dose": 5}}, **fields)

    @property
    def last(self) -> int:
        return self.entries[-1].seq

    # What the worker does

    def begin(self, mandate: int, kind: str = "run.resumed", **fields: Any) -> int:
        self.runs += 1
        self.run = f"run-{self.runs}"
        detail: dict[str, Any] = {"continues": False} if kind == "run.started" else {"interrupts": []}
        detail |= fields.pop("detail", {})
        actor = fields.pop("actor", actor_of(mandate))
        return self.add(kind, GRAPH, actor=actor, run=self.run, checkpoint=self.here, detail=detail, **fields).seq

    def start(self, mandate: int = 1, given: Json = DEFAULT, **fields: Any) -> int:
        seq = self.begin(
            mandate, "run.started", payload={"input": {"dose": 5} if given is DEFAULT else given}, **fields
        )
        self.checkpoint("input")
        self.writes("__start__")
        self.checkpoint()
        return seq

    @property
    def here(self) -> CheckpointRef | None:
        return CheckpointRef(self.tip, "", self.parent) if self.tip else None

    def checkpoint(self, source: str = "loop", **fields: Any) -> None:
        self.saved += 1
        self.parent, self.tip = self.tip, f"c{self.saved}"
        place = fields.pop("checkpoint", self.here)
        run = fields.pop("run", self.run)
        self.add("checkpoint.saved", GRAPH, run=run, checkpoint=place, detail={"source": source, "step": 0}, **fields)

    def writes(self, node: str, *channels: str, at: str | None = None, ns: str = "", **fields: Any) -> None:
        detail = {"task": f"t-{node}-{self.tip}", "path": f"~__pregel_pull, {node}", "node": node}
        detail |= {"channels": [*channels] or ["steps"]} | fields.pop("detail", {})
        place = CheckpointRef(at or self.tip or "", ns)
        run = fields.pop("run", self.run)
        self.add("writes.saved", GRAPH, run=run, checkpoint=place, detail=detail, **fields)

    def step(self, *nodes: str) -> None:
        """Let nodes run, and the checkpoint come that follows."""
        for node in nodes:
            self.writes(node)
        self.checkpoint()

    def pause(self, *nodes: str, when: str = "before", ns: str = "", at: str | None = None, **fields: Any) -> int:
        place = CheckpointRef(at or self.tip or "", ns, self.parent)
        detail = {"when": when, "next": [*nodes]} | fields.pop("detail", {})
        run = fields.pop("run", self.run)
        return self.add("interrupt.raised", GRAPH, run=run, checkpoint=place, detail=detail, **fields).seq

    def ask(self, name: str = "q1", node: str = "ask", ns: str = "") -> str:
        task = {"task": f"t-{node}-{self.tip}", "path": f"~__pregel_pull, {node}", "node": node}
        place = CheckpointRef(self.tip or "", ns)
        self.writes(node, "__interrupt__", ns=ns)
        self.add(
            "interrupt.raised",
            GRAPH,
            run=self.run,
            checkpoint=place,
            detail={"when": "dynamic", "interrupt": name, **task},
            payload={"value": f"{name}?"},
        )
        return name

    def update(self, mandate: int, values: Json, as_node: str | None = None, **fields: Any) -> None:
        self.runs += 1
        run, actor = f"edit-{self.runs}", fields.pop("actor", actor_of(mandate))
        if values is not None:
            detail: dict[str, Any] = {"task": "t-edit", "path": "~__interrupt__, 0000000000", "channels": ["dose"]}
            place = CheckpointRef(self.tip or "")
            self.add("writes.saved", GRAPH, run=run, actor=actor, checkpoint=place, detail=detail)
        self.saved += 1
        self.parent, self.tip = fields.pop("parent", self.tip), f"c{self.saved}"
        detail = {"source": "update", "step": 1, "channels": ["dose"]} | ({"as_node": [as_node]} if as_node else {})
        given: Json = [{"values": values, "as_node": as_node}]
        changed = values if isinstance(values, dict) else {}
        changes: list[Json] = [_change(self.state, name, changed[name]) for name in sorted(changed)]
        self.state |= changed
        payload: dict[str, Json] = {"given": given, "changes": fields.pop("changes", changes)}
        self.add("state.updated", GRAPH, run=run, actor=actor, checkpoint=self.here, detail=detail, payload=payload)

    def end(self, kind: str = "run.completed", **detail: Any) -> None:
        payload = {"message": "the printer is off"} if kind == "run.failed" else None
        self.add(kind, GRAPH, run=self.run, checkpoint=self.here, detail=detail, payload=payload)

    # What people do in reviews

    def replay(self) -> CaseReplay:
        """Return the replay of the case so far, whatever is wrong with it. It goes on with the case."""
        for checked in walked(self.system[self._known[0] :], self._links[0], self.of):
            self._directory.feed(checked)
            self._links[0] = checked.link
        for checked in walked(self.entries[self._known[1] :], self._links[1], self.of):
            self._replay.feed(checked)
            self._links[1] = checked.link
        self._known = [len(self.system), len(self.entries)]
        return self._replay

    def asks(self) -> list[Asked]:
        return self.replay().case.asks()

    def settle(self, review: str = "r-1", *, number: int = 0, **changes: Any) -> str:
        """Open the review that is to be opened now."""
        asked = self.asks()[number]
        detail: dict[str, Any] = {
            "review": review,
            "gate": asked.gate.name,
            "when": asked.when,
            "nodes": [*asked.nodes],
        }
        if asked.interrupt is not None:
            detail["interrupt"] = asked.interrupt
        self.add("review.opened", actor=SYSTEM, checkpoint=asked.checkpoint, detail=detail | changes)
        return review

    def reopen(self, review: str = "r-1", **changes: Any) -> None:
        known = self.known(review)
        asked = next(one for one in self.asks() if one.gate.name == known.gate.name)
        detail: dict[str, Any] = {"review": review, "cause": known.changed_by, "voided": known.voided}
        if asked.interrupt is not None:
            detail["interrupt"] = asked.interrupt
        self.add("review.reopened", actor=SYSTEM, checkpoint=asked.checkpoint, detail=detail | changes)

    def known(self, review: str) -> Review:
        return self.replay().case.reviews[review]

    def view(self, review: str) -> dict[str, Json]:
        known = self.known(review)
        return {
            "spec": "countersign/view/1",
            "origin": self.of.origin,
            "case": TRAIL,
            "workflow": self.workflow.as_json(),
            "review": review,
            "round": known.round,
            "gate": known.gate.name,
            "checkpoint": {"id": known.checkpoint.id, "ns": known.checkpoint.ns},
            "state": dict(self.state),
        }

    def look(self, who: str, review: str = "r-1", view: dict[str, Json] | None = None) -> str:
        """Show the review to somebody, and return the digest of what they saw."""
        view = view or self.view(review)
        digest = shown_digest(SALT, view).hex()
        payload: dict[str, Json] = {"salt": SALT.hex(), "view": view}
        self.act("review.viewed", who, detail={"review": review, "shown_digest": digest}, payload=payload)
        return digest

    def sign(
        self,
        who: str,
        name: str = "approved",
        review: str = "r-1",
        *,
        text: str = "",
        values: Mapping[str, Json] | None = None,
        role: str | None = None,
        shown: str | None = None,
        looks: bool = True,
        said: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> int:
        """Show the review to somebody, unless `looks` is false, and let them sign; `said` changes the statement."""
        digest = self.look(who, review) if looks else shown
        digest = shown or digest or shown_digest(SALT, self.view(review)).hex()
        known, self.nonces = self.known(review), self.nonces + 1
        rule = next((rule for rule in known.gate.decisions if rule.name == name), known.gate.edit)
        role = role or ROLES[who]
        reason: dict[str, Json] = {"text": text, "values": dict(values or {})}
        members: dict[str, Any] = {
            "origin": self.of.origin,
            "trail": TRAIL,
            "review": review,
            "shown_digest": bytes.fromhex(digest),
            "decision": name,
            "meaning": rule.meaning if rule else "I say so.",
            "reason_digest": reason_digest(SALT, text, dict(values or {})),
            "signer": who,
            "role": role,
            "nonce": self.nonces.to_bytes(32, "big"),
            "issued_at": self.now,
        }
        statement = Statement(**(members | dict(said or {})))
        payload: dict[str, Json] = {
            "statement": statement.as_json(),
            "salts": {"shown": SALT.hex(), "reason": SALT.hex()},
            "reason": reason,
            "printed_name": who.upper(),
        }
        detail: dict[str, Any] = {
            "review": review,
            "decision": name,
            "stage": known.tally().stage,
            "shown_digest": digest,
            "credential": f"c-{who}",
            "components": ["password"],
            "session": "s-1",
        } | fields.pop("detail", {})
        return self.act(
            "review.signed", who, role, detail=detail, payload=payload | fields.pop("payload", {}), **fields
        )

    def attest(self, key: str, role: str = "pharmacist", review: str = "r-1", name: str = "approved") -> int:
        digest = shown_digest(SALT, self.view(review)).hex()
        stage = self.known(review).tally().stage
        detail: dict[str, Any] = {"review": review, "decision": name, "stage": stage, "shown_digest": digest}
        payload: dict[str, Json] = {"reason": {"text": "", "values": {}}}
        return self.act("review.attested", key, role, via="api-key", detail=detail, payload=payload)

    def decide(self, review: str = "r-1", write: Json = DEFAULT, **changes: Any) -> int:
        """Record what the signatures come to; `changes` forge the detail."""
        replay = self.replay()
        known = replay.case.reviews[review]
        expired = changes.get("by") == "expiry"
        tally = known.tally()
        left = [gate for gate in replay.runs.due() if gate.name != known.gate.name]
        detail: dict[str, Any] = {
            "review": review,
            "outcome": known.gate.on_expiry if expired else tally.outcome or "approved",
            "by": "signatures",
            "signed": [] if expired else [*tally.counted],
            "resume": known.interrupt is not None or not left,
        }
        if write is DEFAULT:
            write = known.written(tally, expired=expired)
        return self.add("review.decided", actor=SYSTEM, detail=detail | changes, payload={"write": write}).seq

    def annotate(self, who: str, refers: int, **said: Any) -> int:
        """Sign an annotation."""
        self.nonces += 1
        members: dict[str, Any] = {
            "origin": self.of.origin,
            "trail": TRAIL,
            "review": annotation_of(refers),
            "shown_digest": bytes(32),
            "decision": "annotate",
            "meaning": "I add this.",
            "reason_digest": reason_digest(SALT, "seen", {}),
            "signer": who,
            "role": ROLES[who],
            "nonce": self.nonces.to_bytes(32, "big"),
            "issued_at": self.now,
        }
        payload: dict[str, Json] = {
            "text": "seen",
            "statement": Statement(**(members | said)).as_json(),
            "salts": {"shown": SALT.hex(), "reason": SALT.hex()},
            "reason": {"text": "seen", "values": {}},
        }
        credential = {"credential": f"c-{who}", "components": ["password"], "session": "s-1"}
        detail: dict[str, Any] = {"refers": refers, "signed": True, **credential}
        return self.act("case.annotated", who, detail=detail, payload=payload)

    def timed(self, kind: str, due: datetime | None = None, review: str = "r-1", **detail: Any) -> int:
        what = {"review.reminded": "remind", "review.escalated": "escalate"}.get(kind, "expire")
        moment = due or self.known(review).due(what) or self.now
        changed = {"review": review, "due": format_time(moment), **detail}
        return self.add(kind, actor=SYSTEM, detail=changed).seq


def _change(state: Mapping[str, Json], name: str, new: Json) -> dict[str, Json]:
    return {"channel": name, "new": new} | ({"old": state[name]} if name in state else {})


def walked(entries: Sequence[Entry], link: Link = START, of: Deployment = MADE_UP) -> list[Checked]:
    checked: list[Checked] = []
    for entry in entries:
        checked.append(check_entry(entry, after=link, origin=of.origin, ring=of.ring))
        link = checked[-1].link
    return checked


def directory(world: World, sealed: int = 10**6) -> Directory:
    made, leaves = Directory(), leaves_of(world, sealed)
    for checked in walked(world.system, of=world.of):
        made.feed(checked, leaves.get(checked.entry))
    return made


def leaves_of(world: World, sealed: int = 10**6) -> dict[Entry, int]:
    """Return which leaves the first `sealed` entries are."""
    return {entry: leaf for leaf, entry in enumerate(world.order[:sealed])}


def problems(world: World, sealed: int = 10**6) -> list[str]:
    """Return what verification says of a case of which so many entries are sealed, in the order they were written."""
    case, leaves = CaseReplay(world.of.origin, TRAIL, directory(world, sealed)), leaves_of(world, sealed)
    whole = walked(world.entries, of=world.of)
    found = [error for checked in whole for error in case.feed(checked, leaves.get(checked.entry))]
    assert all((error.check, error.trail) == ("authority", TRAIL) and error.seq for error in found)
    return [error.message for error in found]


def waiting(document: Mapping[str, Json] | None = None) -> World:
    """Return a case that waits before its node `review`, with its review open."""
    world = World(document)
    world.open()
    world.start()
    world.step("analyze")
    world.pause("review")
    world.settle()
    return world


def asking(document: Mapping[str, Json] | None = None) -> World:
    """Return a case that waits for an answer, with its review open."""
    world = World(document or policy(question_gate()))
    world.open()
    world.start()
    world.ask()
    world.settle()
    return world


def finish(world: World, mandate: int, *nodes: str) -> None:
    """Let the worker carry out a decision at a static pause, to the end of the graph."""
    world.update(mandate, written(world, mandate))
    world.begin(mandate)
    for node in nodes or ("review", "order"):
        world.step(node)
    world.end()


def written(world: World, mandate: int) -> Json:
    values: Json = world.replay().runs.mandates[mandate].values  # type: ignore[assignment]
    return values
