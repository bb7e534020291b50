"""Every key of countersign.toml, table by table: the parser reads by these, and docs/configuration.md lists them."""

from __future__ import annotations

from datetime import timedelta

from . import forms
from .forms import many, number, one_of
from .reading import Item, Key, read_table
from .schemas import fields, schema
from .templates import template

_NAMES = "list of roles"
_DURATION = "duration"
_TABLE = "table"


def _raw(item: Item) -> Item:
    return item


def _redirect(item: Item) -> dict[str, object]:
    return read_table(item, REDIRECT)


def _edit(item: Item) -> dict[str, object]:
    return read_table(item, EDIT)


def _stage(item: Item) -> dict[str, object]:
    return read_table(item, STAGE)


TOP = (
    Key("langgraph", "path", "a LangGraph project's langgraph.json, for the graphs it lists", forms.file_path, None),
    Key("service", _TABLE, "how the service runs", _raw, None),
    Key("retention", "tables", "how long cases are kept, by class", _raw, None),
    Key("workflows", "tables", "the workflows, by name", _raw),
)

SERVICE = (
    Key(
        "listen",
        "HOST:PORT",
        "where it answers; port 0 is any free one",
        forms.listen,
        ("127.0.0.1", 8321),
        "127.0.0.1:8321",
    ),
    Key(
        "public_url",
        "web address",
        "how browsers reach it; cookies and links follow it",
        forms.web_address,
        None,
        "http:// and what it listens on",
    ),
    Key(
        "database",
        "reference",
        "the PostgreSQL of the server",
        forms.reference,
        None,
        "COUNTERSIGN_DATABASE_URL, or the embedded one",
    ),
    Key(
        "worker_database",
        "reference",
        "the same for workers, with the role countersign_worker",
        forms.reference,
        None,
        "COUNTERSIGN_WORKER_DATABASE_URL, or the embedded one",
    ),
    Key(
        "workers",
        "0 to 64",
        "worker processes that `countersign serve` starts; 0: they run elsewhere, `countersign worker`",
        number(0, 64),
        2,
    ),
    Key(
        "try_out",
        "true or false",
        "for a first look: users with known passwords, on loopback only",
        forms.flag,
        default=False,
    ),
    Key("sessions", _TABLE, "how long somebody stays signed in", _raw, None),
    Key("engine", _TABLE, "how runs are watched and repeated", _raw, None),
)

SESSIONS = (
    Key("idle", _DURATION, "a session without a request ends after it", forms.duration, timedelta(minutes=15), "15m"),
    Key("absolute", _DURATION, "every session ends after it", forms.duration, timedelta(hours=12), "12h"),
)

ENGINE = (
    Key(
        "run_limit",
        _DURATION,
        "a run that takes longer is broken off; its case stays, and can be retried",
        forms.duration,
        timedelta(minutes=10),
        "10m",
    ),
    Key("attempts", "1 to 100", "how often a run is tried that fails in passing", number(1, 100), 5),
    Key(
        "first_wait",
        _DURATION,
        "the wait before the second attempt; it doubles from there",
        forms.duration,
        timedelta(seconds=1),
        "1s",
    ),
    Key("longest_wait", _DURATION, "the longest wait between two attempts", forms.duration, timedelta(minutes=5), "5m"),
    Key(
        "lost_after",
        _DURATION,
        "a worker that is not heard of for so long is lost, and its case goes to another",
        forms.duration,
        timedelta(seconds=30),
        "30s",
    ),
    Key(
        "sweep_every",
        _DURATION,
        "how often the server looks for what a crash left, and for reviews whose time has come",
        forms.duration,
        timedelta(seconds=5),
        "5s",
    ),
    Key(
        "grace",
        _DURATION,
        "how long a worker that is told to stop may finish its run",
        forms.duration,
        timedelta(seconds=30),
        "30s",
    ),
)

RETENTION = (Key("days", "1 to 36525", "days after the end of a case; below 183 there is a warning", number(1, 36525)),)

WORKFLOW = (
    Key(
        "graph",
        "address",
        '"module.name:graph" or "./file.py:graph"',
        forms.address,
        None,
        "the graph of this name in langgraph.json",
    ),
    Key("title", "text", "what people read in place of the name", forms.text, None, "the name"),
    Key("retention", "name", "a class of [retention]", forms.name),
    Key(
        "image",
        "sha256:...",
        "the digest of the image that workers run, in place of hashes of the sources",
        forms.image,
        None,
    ),
    Key(
        "project",
        "path",
        "the folder whose sources belong to the code",
        forms.file_path,
        None,
        "the folder of the file, or of langgraph.json",
    ),
    Key(
        "files",
        "list of patterns",
        "other files there that belong to the code, such as prompts",
        many(forms.pattern),
        [],
    ),
    Key("roles", _TABLE, "who may do what", _raw),
    Key("gates", "list of tables", "where people must sign", _raw, None),
)

ROLES = (
    Key("start", _NAMES, "may start a case", many(forms.role, least=1)),
    Key("fallback", "role", "decides on pauses and questions that no gate names", forms.role),
    Key("read", _NAMES, "may read cases; every role of the policy may as well", many(forms.role), []),
    Key("correct", _NAMES, "may correct the state of a case, with a reason", many(forms.role), []),
    Key("redirect", _TABLE, "may send a case to another node: `roles` and `to`", _redirect, None),
    Key("stop", _NAMES, "may stop a case for good", many(forms.role), None, "the fallback role"),
    Key(
        "move",
        _NAMES,
        "may move a case to another version of the workflow",
        many(forms.role),
        None,
        "the fallback role",
    ),
    Key("retry", _NAMES, "may have a failed run done again", many(forms.role), None, "the fallback role"),
)

REDIRECT = (
    Key("roles", _NAMES, "may send a case elsewhere", many(forms.role, least=1)),
    Key("to", "list of nodes", "where to", many(forms.node, least=1)),
)

GATE = (
    Key("name", "name", "of the gate", forms.name),
    Key("before", "node", "the node does not run until people have signed", forms.node, None),
    Key("after", "node", "nothing behind the node runs until people have signed", forms.node, None),
    Key("interrupt", "node", "people answer what the node asks by interrupt()", forms.node, None),
    Key("question", "text", "what people are asked", forms.text),
    Key("role", "role", "who signs, where there is one stage", forms.role, None),
    Key("count", "1 to 20", "how many of that role", number(1, 20), None, "1"),
    Key(
        "stages",
        "list of tables",
        "who signs, stage after stage, in place of role and count",
        many(_stage, least=1),
        None,
    ),
    Key("decisions", "tables", "what can be decided, by name", _raw),
    Key("edit", _TABLE, "lets signers change the state first; the gate then opens again", _edit, None),
    Key(
        "accept",
        "signed, attested",
        "whether what an API key vouches for counts too",
        one_of("signed", "attested"),
        "signed",
    ),
    Key(
        "separation",
        "list",
        "who may not sign: starter (who started the case), editor (who corrected it)",
        many(one_of("starter", "editor")),
        ["starter", "editor"],
        "both",
    ),
    Key("remind_after", _DURATION, "signers are reminded", forms.seconds, None),
    Key("escalate_after", _DURATION, "from then on escalate_to may sign as well", forms.seconds, None),
    Key("escalate_to", "role", "who that is", forms.role, None),
    Key("expire_after", _DURATION, "the time is over", forms.seconds, None),
    Key("on_expiry", "decision", "what is decided then: one that does not release, or stop", forms.name, None),
)

STAGE = (
    Key("role", "role", "who signs", forms.role),
    Key("count", "1 to 20", "how many of them", number(1, 20), 1),
)

DECISION = (
    Key("meaning", "text", "what somebody who signs it says; frozen in the signature", forms.text),
    Key(
        "releases",
        "true or false",
        "whether it approves: then all stages must sign; any other decision takes one signer",
        forms.flag,
        default=False,
    ),
    Key("reason", "required, optional", "whether a reason must be given", one_of("required", "optional"), "optional"),
    Key(
        "write",
        _TABLE,
        "before and after: the fields of the state that are written (a template)",
        template,
        None,
        "nothing",
    ),
    Key("resume", "any", "interrupt: the answer that the node gets (a template)", template, None, "required there"),
    Key("values", "JSON schema", "what signers fill in", schema, None),
)

EDIT = (
    Key("meaning", "text", "what somebody who signs an edit says", forms.text),
    Key("values", "JSON schema", "the fields of the state that may be changed", fields),
)
