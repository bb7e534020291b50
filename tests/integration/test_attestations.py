"""What witnesses and a time stamping authority say of a head is kept beside it, once, and never changed."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from conftest import Database
from countersign.audit.attestations import (
    add_cosignatures_steps,
    add_token_steps,
    cosigned_note_steps,
    last_cosigned_steps,
    last_stamped_steps,
    token_steps,
)
from countersign.audit.leaves import last_head_steps
from countersign.audit.note import Signature, parse_note
from countersign.audit.steps import run
from integration.sealing import own_log

ONE = Signature("witness.example/one", b"one!", b"first")
TWO = Signature("witness.example/two", b"two!", b"other")


def test_a_head_is_read_with_all_that_has_come(database: Database, tmp_path: Path) -> None:
    log = own_log(database, tmp_path)
    log.seal()
    with log.connected() as conn:
        head = run(conn, last_head_steps())
        assert head
        assert (run(conn, last_cosigned_steps()), run(conn, last_stamped_steps())) == (None, None)
        plain = run(conn, cosigned_note_steps(head))
        assert plain == parse_note(head.note)

        run(conn, add_cosignatures_steps(head.tree_size, []))
        run(conn, add_cosignatures_steps(head.tree_size, [TWO]))
        again = Signature(TWO.name, TWO.key_id, b"later")
        run(conn, add_cosignatures_steps(head.tree_size, [ONE, again]))
        assert run(conn, cosigned_note_steps(head)).signatures == (*plain.signatures, ONE, TWO)

        assert run(conn, token_steps(head.tree_size)) is None
        run(conn, add_token_steps(head.tree_size, b"token"))
        run(conn, add_token_steps(head.tree_size, b"a later one"))
        assert run(conn, token_steps(head.tree_size)) == b"token"
        assert run(conn, last_cosigned_steps()) == run(conn, last_stamped_steps()) == head


@pytest.mark.parametrize("table", ["cosignatures", "tokens"])
@pytest.mark.parametrize("change", ["UPDATE audit.{} SET tree_size = 9", "DELETE FROM audit.{}", "TRUNCATE audit.{}"])
def test_the_application_cannot_change_it(database: Database, table: str, change: str) -> None:
    with psycopg.connect(database.app_url) as conn, pytest.raises(psycopg.errors.InsufficientPrivilege):
        conn.execute(change.format(table).encode())
    with psycopg.connect(database.owner_url) as conn, pytest.raises(psycopg.errors.Error, match="evidence"):
        conn.execute(change.format(table).encode())
