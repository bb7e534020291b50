"""A trail in the words of docs/events.md, and the table there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from conftest import Database

PAGE = Path(__file__).resolve().parents[2] / "docs" / "events.md"
BETWEEN = " · "
_ROW = re.compile(r"\| \*\*(?P<name>[^*]+)\*\* \| (?P<steps>.+) \|")
_STEP = re.compile(r"\*(?P<label>[^*]+)\*: (?P<entries>.*)")


def bodies(database: Database, trail: str) -> list[dict[str, Any]]:
    """Return the bodies of a trail, in order."""
    rows = database.query("SELECT body FROM audit.entries WHERE trail = %s ORDER BY seq", (trail,))
    return [json.loads(bytes(body)) for (body,) in rows]


def said(body: Mapping[str, Any]) -> str:
    """Return an entry in the table's words."""
    detail = body["detail"]
    words = [body["kind"], *_words(body["kind"], detail)]
    if ns := (body.get("checkpoint") or {}).get("ns"):
        words.append("in " + "/".join(part.split(":")[0] for part in ns.split("|")))
    return " ".join([*words, *(["recovered"] if detail.get("recovered") else [])])


def _words(kind: str, detail: Mapping[str, Any]) -> list[str]:  # noqa: PLR0911 - a table of kinds
    match kind:
        case "run.started":
            return ["again"] * detail["continues"] + _open(detail)
        case "run.resumed":
            return [*detail.get("command", []), *_open(detail)]
        case "run.paused":
            return _open(detail)
        case "checkpoint.saved":
            return [detail["source"]]
        case "writes.saved":
            return [_writer(detail)]
        case "state.updated":
            return [",".join(detail["channels"]) or "nothing", *(f"as {node}" for node in detail.get("as_node", ()))]
        case "interrupt.raised":
            return [detail["when"], *detail.get("next", [detail.get("node", "")])]
        case "run.failed":
            return [detail["error"].rpartition(".")[2]]
    return []


def _open(detail: Mapping[str, Any]) -> list[str]:
    questions = len(detail.get("interrupts", ()))
    return [f"{len(detail['answers'])}/{questions}" if "answers" in detail else f"{questions} open"] * bool(questions)


def _writer(detail: Mapping[str, Any]) -> str:
    if not detail["path"]:
        return "answer" if "__resume__" in detail["channels"] else "command"
    if detail["path"].startswith("~__interrupt__"):
        return "edit"
    return str(detail.get("node") or detail["path"].rpartition(", ")[2])


def in_words(entries: Sequence[Mapping[str, Any]], *, at_once: bool = False) -> list[str]:
    """Return entries in the table's words; what tasks wrote `at_once` is put in the order of their nodes."""
    if not at_once:
        return [said(body) for body in entries]
    found: list[tuple[int, str, int, str]] = []
    block = 0
    for position, body in enumerate(entries):
        node = body["detail"].get("node", "")
        block += not (node and position and _together(entries[position - 1], body))
        found.append((block, node, position, said(body)))
    return [words for *_, words in sorted(found)]


def as_submitted(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a run's entries as LangGraph submitted them, where it saves from threads: the sync saver.

    There the delivery of an answer may commit beside what the answered node writes, the checkpoint that a run begins
    with beside the writes to it, and a checkpoint beside the writes that led to it. `run.resumed`, which holds the
    answer, is there before any.
    """
    delivered = [body for body in entries if body["kind"] == "writes.saved" and not body["detail"]["path"]]
    ordered = [body for body in entries if body not in delivered]
    opened = next((at + 1 for at, body in enumerate(ordered) if body["kind"] == "run.resumed"), 0)
    ordered[opened:opened] = delivered
    for body in entries:
        at = ordered.index(body)
        behind = {"checkpoint.saved": _writes_to, "writes.saved": _led_to_by}.get(body["kind"])
        if behind:
            first = next((before for before in range(at) if behind(body, ordered[before])), at)
            ordered.insert(first, ordered.pop(at))
    return ordered


def overtaken(entries: Sequence[dict[str, Any]]) -> bool:
    """Tell whether a checkpoint of LangGraph's loop is there without any of the writes that led to it."""
    written = {body["checkpoint"]["id"] for body in entries if body["kind"] == "writes.saved"}
    loops = [body for body in entries if body["kind"] == "checkpoint.saved" and body["detail"]["source"] == "loop"]
    return any(body["checkpoint"]["parent"] not in written for body in loops)


def _writes_to(checkpoint: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return bool(other["kind"] == "writes.saved" and other["checkpoint"]["id"] == checkpoint["checkpoint"]["id"])


def _led_to_by(writes: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return bool(other["kind"] == "checkpoint.saved" and other["checkpoint"]["parent"] == writes["checkpoint"]["id"])


def _together(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    same = ((body.get("checkpoint") or {}).get("id") for body in (one, other))
    return len(set(same)) == 1 and all(body["detail"].get("node") for body in (one, other))


def shown(steps: Iterable[tuple[str, Sequence[str]]]) -> str:
    """Return the cell of the table for steps and their entries."""
    return "<br>".join(f"*{label}*: {BETWEEN.join(entries) or 'nothing'}" for label, entries in steps)


def table() -> dict[str, list[tuple[str, list[str]]]]:
    """Return the table of docs/events.md: steps and entries by the name of the row."""
    rows = (_ROW.fullmatch(line) for line in PAGE.read_text().splitlines())
    return {row["name"]: [_step(step) for step in row["steps"].split("<br>")] for row in rows if row}


def _step(text: str) -> tuple[str, list[str]]:
    found = _STEP.fullmatch(text)
    assert found, text
    entries = found["entries"]
    return found["label"], [] if entries == "nothing" else entries.split(BETWEEN)
