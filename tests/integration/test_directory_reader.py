"""The Directory of a process follows @system, entry by entry that was checked, and forgets what is not there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from conftest import Database
from countersign.audit.canonical import Json
from countersign.audit.chain import check_entry
from countersign.audit.entry import SYSTEM_TRAIL, EntryDraft
from countersign.audit.errors import VerificationError
from countersign.audit.standing import Directory
from countersign.service.identity import directory as module
from countersign.service.identity.directory import DirectoryReader
from countersign.service.identity.records import GrantWanted
from peopled import OPERATOR, Peopled, peopled

CHIEF = GrantWanted("chief", "orders")


@pytest.fixture
async def here(database: Database) -> AsyncIterator[Peopled]:
    async with peopled(database) as here:
        yield here


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the list of the entries that are checked from now on, by their seq."""
    seqs: list[int] = []

    def counting(entry: Any, **how: Any) -> Any:
        seqs.append(entry.seq)
        return check_entry(entry, **how)

    monkeypatch.setattr(module, "check_entry", counting)
    return seqs


async def current(here: Peopled, reader: DirectoryReader | None = None) -> Directory:
    async with here.pool.connection() as conn:
        return await (reader or here.people.directory).current(conn)


async def test_an_empty_system_knows_nobody(here: Peopled) -> None:
    assert (await current(here)).latest("u-0") is None


async def test_each_entry_is_read_and_checked_once(here: Peopled, checked: list[int]) -> None:
    user = await here.user("user", CHIEF, own=None)
    for _ in range(3):
        standing = (await current(here)).latest(user.id)
    assert standing is not None
    assert standing.holds("chief", "orders", here.clock())
    await here.people.deactivate(OPERATOR, user.id)
    after = (await current(here)).latest(user.id)
    assert after is not None
    assert not after.active
    assert checked == [1, 2, 3, 4]


async def test_what_is_asked_at_once_is_read_once(here: Peopled, checked: list[int]) -> None:
    await here.user("user", CHIEF, own=None)
    reader = DirectoryReader(here.people.appender)
    checked.clear()
    found = await asyncio.gather(*(current(here, reader) for _ in range(8)))
    assert len({id(directory) for directory in found}) == 1
    assert checked == [1, 2, 3]


async def test_what_another_process_did_is_seen(here: Peopled) -> None:
    async with peopled(here.database, clock=here.clock) as other:
        user = await other.user("user", CHIEF)
        standing = (await current(here)).latest(user.id)
    assert standing is not None
    assert standing.holds("chief", "orders", here.clock())


@pytest.mark.parametrize("more", [0, 1, 2])
async def test_what_was_read_and_never_committed_does_not_go_on_deciding(here: Peopled, more: int) -> None:
    """Whether nothing, another entry in the same place, or more than one was committed since."""
    user = await here.user("user", own=None)
    async with here.pool.connection() as conn, conn.transaction(force_rollback=True):
        latest = (await here.people.directory.current(conn)).latest(user.id)
        assert latest is not None
        draft = EntryDraft(SYSTEM_TRAIL, "grant.given", detail=given(user.id, latest.place.as_json()))
        await here.people.appender.aappend(conn, draft)
        tempted = (await here.people.directory.current(conn)).latest(user.id)
        assert tempted is not None
        assert tempted.holds("chief", "orders", here.clock())
    async with peopled(here.database, clock=here.clock) as other:
        for number in range(more):
            await other.api_key(f"key-{number}", ["cases:read"])
    assert (await current(here)).latest(user.id) == latest
    await here.people.give_grant(OPERATOR, user.id, "second", "orders")
    after = (await current(here)).latest(user.id)
    assert after is not None
    assert after.roles("orders", here.clock()) == {"second"}


def given(user: str, before: Json) -> dict[str, Json]:
    """Return the detail of a role that was given."""
    begins = "2026-01-01T00:00:00.000000Z"
    return {"user": user, "grant": "g-1", "role": "chief", "workflow": "*", "from": begins, "before": before}


async def test_a_restored_backup_is_read_anew(here: Peopled) -> None:
    user = await here.user("user", own=None)
    await here.people.give_grant(OPERATOR, user.id, "chief", "orders")
    await current(here)
    here.database.as_admin("DELETE FROM audit.entries WHERE trail = '@system' AND seq = 3")
    standing = (await current(here)).latest(user.id)
    assert standing is not None
    assert not standing.grants


DAMAGES = {
    "body": "UPDATE audit.entries SET body = overlay(body PLACING 'x' FROM 100)",
    "signature": "UPDATE audit.entries SET signature = sha512('x')",
    "kind": "UPDATE audit.entries SET kind = 'user.reactivated'",
    "sequence": "DELETE FROM audit.entries",
    "payload": "INSERT INTO audit.payloads SELECT trail, seq, sha256('s'), 'x' FROM audit.entries",
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_nobody_may_do_anything_by_entries_that_are_not_what_was_signed(here: Peopled, damage: str) -> None:
    user = await here.user("user", CHIEF, own=None)
    assert here.database.as_admin(f"{DAMAGES[damage]} WHERE trail = '@system' AND seq = 2") == 1
    reader = DirectoryReader(here.people.appender)
    for _ in range(2):
        with pytest.raises(VerificationError):
            await current(here, reader)
    with pytest.raises(VerificationError):
        async with peopled(here.database) as other:
            await other.people.deactivate(OPERATOR, user.id)
    assert (await here.people.get_user(OPERATOR, user.id)).active


async def test_an_entry_that_makes_no_sense_is_left_aside_and_told(
    here: Peopled, caplog: pytest.LogCaptureFixture
) -> None:
    user = await here.user("user", own=None)
    async with here.pool.connection() as conn, conn.transaction():
        draft = EntryDraft(SYSTEM_TRAIL, "grant.given", detail=given(user.id, None))
        await here.people.appender.aappend(conn, draft)
    standing = (await current(here)).latest(user.id)
    assert standing is not None
    assert not standing.grants
    assert "Entry 3 of trail '@system'" in caplog.text
    await here.people.give_grant(OPERATOR, user.id, "chief", "orders")
    after = (await current(here)).latest(user.id)
    assert after is not None
    assert after.holds("chief", "orders", here.clock())
