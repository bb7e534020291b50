"""What a verified log is worth: who vouches for its heads, how far, and what nobody vouches for (docs/formats.md).

A report says of each kind of evidence whether it was checked, is missing although it was asked for, or was not asked
for.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from psycopg import Connection

from .attestations import cosigned_note_steps, newest_tokens_steps
from .body import parse_body
from .entry import SYSTEM_TRAIL
from .errors import MalformedError, VerificationError
from .kinds import Kind
from .leaves import StoredHead
from .logcheck import Rebuilt
from .merkle import MAX_TREE_SIZE
from .note import Algorithm, Verified, parse_note
from .outside import Outside
from .steps import Statement, Steps, run
from .terms import KeyTerms
from .timetoken import check_tokens
from .treehead import LogTrust, TreeHead, open_tree_head
from .verify import Report, said_time

_TOKENS = 20
"""Time tokens that are checked: the newest alone would do, were it not for one that does not count."""
_COSIGNED = """
SELECT h.number, h.tree_size, h.note FROM audit.heads h
WHERE EXISTS (SELECT FROM audit.cosignatures c WHERE c.tree_size = h.tree_size) AND h.tree_size <= %s::bigint
ORDER BY h.tree_size DESC
"""


def say_log(conn: Connection[Any], outside: Outside, since: int | None, report: Report, *, whole: bool = True) -> None:
    """Add to `report` what there is to say of the log, once its leaves were read, and what that means for the verdict.

    Unless it was `whole`, the entries of one trail only were held against their leaves.
    Nothing from outside, or fewer witnesses than were asked for: indeterminate.
    """
    rebuilt = report.rebuilt
    if outside.log is None or rebuilt is None:
        report.indeterminate = True
        report.say("log", "not checked", "no key of the log was given: the trust file names none")
        return
    report.tree_head = rebuilt.last
    _say_heads(rebuilt, since or 0, report, whole=whole)
    _say_outside(outside, rebuilt, report)
    _say_witnesses(conn, outside, rebuilt, since or 0, report)
    _say_time(conn, outside, since or 0, report)
    for seq, size, given in run(conn, _adopted_steps(outside.log.origin)):
        against = f"held against {given} heads that others had kept" if given else "held against nothing else"
        detail = f"entry {seq} of @system says that it was begun anew with the head of size {size}, {against}"
        report.say("memory", "recorded", detail)
    for loss in rebuilt.losses:
        lost = f"{len(loss.hashes)} of the leaves {loss.begin} to {loss.end - 1} have no entry any more"
        report.say("restore", "recorded", f"entry {loss.seq} of @system says that a backup was restored: {lost}")
    if report.doubtful:
        report.indeterminate = True
        detail = f"{report.doubtful} entries of a key that was revoked later, from before them on: cosigned by then"
        report.say("revoked key", "open", detail)
    if report.unsealed:
        count = f"{report.unsealed} entries are" if report.unsealed > 1 else "one entry is"
        report.say("tail", "not checked", f"{count} newer than the last tree head: only this database knows of that")
    if since is not None:
        how = "was verified before, as --since says: of it, and of the rows, only trails that went on were read again"
        report.say("older entries", "not checked", f"what lies below leaf {since} {how}")


def cover_revoked(conn: Connection[Any], outside: Outside, terms: KeyTerms) -> None:
    """Tell `terms` up to which leaf witnesses had vouched before a key was revoked."""
    if outside.log is None or not outside.log.witnesses:
        return
    for keyid, leaf_index in terms.revoked.items():
        found = _last_cosigned(conn, outside, outside.log, None, upto=leaf_index)
        terms.covered[keyid] = found[0].size if found else 0


def _adopted_steps(origin: str) -> Steps[list[tuple[int, int, int]]]:
    """Return of each `log.head-adopted` its seq, the size of the head that it names, and how many were given.

    What is no such entry is left out: it is a finding where its trail is checked.
    """
    rows = yield Statement(
        "SELECT body FROM audit.entries WHERE trail = %s AND kind = %s ORDER BY seq",
        (SYSTEM_TRAIL, Kind.LOG_HEAD_ADOPTED.value),
    )
    found: list[tuple[int, int, int]] = []
    for (data,) in rows:
        with suppress(MalformedError, TypeError):
            body = parse_body(data)
            head, given = body.detail.get("database"), body.detail.get("given")
            size = head.get("size") if isinstance(head, dict) else None
            if body.origin == origin and isinstance(size, int) and isinstance(given, list):
                found.append((body.seq, size, len(given)))
    return found


def _say_heads(rebuilt: Rebuilt, since: int, report: Report, *, whole: bool) -> None:
    last = f", the last of size {rebuilt.last.size}" if rebuilt.last else ""
    heads = f"{rebuilt.heads} signed tree heads{last}" if rebuilt.heads != 1 else f"1 signed tree head{last}"
    which = f"the leaves {since} to {rebuilt.size - 1}" if since else f"{rebuilt.size} leaves"
    which = "no leaf that is new" if since and since >= rebuilt.size else which
    where = "from the stored entries" if whole else "from the table of leaves"
    report.say("log", "checked", f"{which}, {where}, against {heads}")


def _say_outside(outside: Outside, rebuilt: Rebuilt, report: Report) -> None:
    if outside.memory is not None:
        size = outside.memory.head.size
        report.say("memory", "checked", f"the head of size {size} that lies outside the database, and its hash tiles")
    for given in outside.heads:
        report.say("head", "checked", f"size {given.head.size}, from {given.name}")
    # The head of the tree without leaves is every log's and says nothing.
    if outside.largest < min(rebuilt.size, 1):
        report.indeterminate = True
        detail = "no head from outside the database: it may be cut, or an old backup. Give one with --head FILE"
        report.say("end of the log", "missing", detail)
    elif outside.largest < rebuilt.size:
        detail = f"{rebuilt.size - outside.largest} leaves are newer than any head from outside the database"
        report.say("end of the log", "not checked", f"{detail}: more may have been cut off behind it")


def _say_witnesses(conn: Connection[Any], outside: Outside, rebuilt: Rebuilt, since: int, report: Report) -> None:
    log = outside.log
    if log is None or not log.witnesses:
        report.say("witnesses", "not checked", "no witness's key was given: --witness")
        return
    found = _last_cosigned(conn, outside, log, report)
    if found is None:
        report.indeterminate = True
        detail = f"no tree head has cosignatures of {log.quorum} of the {len(log.witnesses)} witnesses that were given"
        report.say("witnesses", "missing", detail)
        return
    head, signatures = found
    if (wrong := outside.contradiction(head, since, "what witnesses cosigned")) is not None:
        report.add(wrong)
        return
    cosigned = [signed for signed in signatures if signed.key.algorithm == Algorithm.COSIGNATURE]
    names = ", ".join(f"{signed.key.name} at {said_time(signed.cosigned_at)}" for signed in cosigned)
    report.say("witnesses", "checked", f"the head of size {head.size}, cosigned by {names or 'none, as asked for'}")
    newer = rebuilt.size - head.size
    if newer > 0:
        detail = f"{newer} leaves are newer than the last cosigned tree head: the operator alone vouches for them"
        report.say("newer than witnessed", "not checked", detail)


def _last_cosigned(
    conn: Connection[Any], outside: Outside, log: LogTrust, report: Report | None, upto: int = MAX_TREE_SIZE
) -> tuple[TreeHead, tuple[Verified, ...]] | None:
    """Return the newest head that as many witnesses cosigned as were asked for: of the database's and those given.

    Of those with at most `upto` leaves. What is no cosignature goes to `report`.
    """
    found = [
        (given.head, given.signatures)
        for given in outside.heads
        if sum(signed.key.algorithm == Algorithm.COSIGNATURE for signed in given.signatures) >= log.quorum
        and given.head.size <= upto
    ]
    for stored in run(conn, _cosigned_steps(upto)):
        try:
            opened = open_tree_head(run(conn, cosigned_note_steps(stored)), log)
        except (MalformedError, VerificationError) as error:
            if report and (isinstance(error, MalformedError) or error.check != "quorum"):
                report.add(_forged(stored, error))
            continue
        found.append((opened.head, opened.signatures))
        break
    return max(found, key=lambda item: item[0].size, default=None)


def _cosigned_steps(upto: int) -> Steps[list[StoredHead]]:
    rows = yield Statement(_COSIGNED, (upto,))
    return [StoredHead(*row) for row in rows]


def _forged(stored: StoredHead, error: MalformedError | VerificationError) -> VerificationError:
    return VerificationError(
        f"A cosignature of the tree head of size {stored.tree_size} in the database is none: {error.message}",
        check="head",
        table="cosignatures",
    )


def _say_time(conn: Connection[Any], outside: Outside, since: int, report: Report) -> None:
    """Check the newest time tokens, each of which vouches for all that is older than its head."""
    if not outside.authorities:
        report.say("time", "not checked", "no certificate of a time stamping authority was given: --tsa-ca")
        return
    stored = run(conn, newest_tokens_steps(_TOKENS))
    texts = run(conn, _texts_steps([size for size, _ in stored]))
    for text in texts.values():
        with suppress(MalformedError):  # told where heads are read, if it is a new one
            if (wrong := outside.contradiction(TreeHead.parse(text), since, "what has a time token")) is not None:
                report.add(wrong)
    tokens = check_tokens(stored, texts, outside.authorities)
    for error in tokens.failures:
        report.add(error)
    report.trust.append(tokens.trust)
    report.indeterminate = report.indeterminate or tokens.newest is None


def _texts_steps(sizes: list[int]) -> Steps[dict[int, str]]:
    """Return the texts of the stored heads of these sizes; of what is no note there is none."""
    rows = yield Statement("SELECT tree_size, note FROM audit.heads WHERE tree_size = ANY(%b::bigint[])", (sizes,))
    texts: dict[int, str] = {}
    for size, note in rows:
        with suppress(MalformedError):
            texts[size] = parse_note(bytes(note)).text
    return texts
