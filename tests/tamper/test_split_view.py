"""One log, two histories, two witnesses: what an operator with all keys can still show to whom."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from countersign.audit.attestations import add_cosignatures_steps
from countersign.audit.memory import Known, Memory
from countersign.audit.note import Note, Signature, VerifierKey, parse_signatures
from countersign.audit.outside import log_trust, read_outside
from countersign.audit.steps import run
from countersign.audit.witness_request import CosignRequest
from countersign.service.witness_state import Reply, WitnessState, create_witness, open_witness
from tamper.test_log_attacks import Scene, revoke_key, rewrite_everything, scene

__all__ = ["scene"]


@dataclass
class Witnesses:
    """Two witnesses that do not know of each other, as real ones are run."""

    keys: tuple[VerifierKey, VerifierKey]
    states: tuple[WitnessState, WitnessState]

    def cosign(self, number: int, note: Note) -> Reply:
        """Ask a witness that has seen nothing of this log."""
        return self.states[number].answer(CosignRequest(0, (), note).encode(), lambda: 1_700_000_000.0)


@pytest.fixture
def witnesses(scene: Scene, tmp_path: Path) -> Iterator[Witnesses]:
    log = scene.trust.log
    names = ("one.example", "two.example")
    keys = [create_witness(tmp_path / name, name) for name in names]
    with ExitStack() as stack:
        states = [stack.enter_context(open_witness(tmp_path / name, log, lambda _: None)) for name in names]
        yield Witnesses((keys[0], keys[1]), (states[0], states[1]))


def known(scene: Scene) -> Known:
    log = log_trust(scene.trust)
    assert log
    found = Memory(scene.memory).open(log)
    assert found
    return found


def keep(scene: Scene, size: int, *replies: Reply) -> tuple[Signature, ...]:
    """Store the cosignatures of a head in the database, as a sealer does."""
    lines = tuple(line for reply in replies for line in parse_signatures(reply.body.decode()))
    with psycopg.connect(scene.database.app_url, autocommit=True) as conn:
        run(conn, add_cosignatures_steps(size, lines))
    return lines


def verdict(scene: Scene, witnesses: Witnesses, quorum: int, *heads: Path) -> tuple[str, list[str]]:
    log = log_trust(scene.trust, witnesses.keys, quorum)
    report = scene.database.verify(outside=read_outside(log, Memory(scene.memory), heads))
    return report.verdict.value, [finding.check for finding in report.findings]


def test_two_witnesses_that_were_shown_two_histories_never_make_a_quorum(scene: Scene, witnesses: Witnesses) -> None:
    honest = known(scene).note
    shown_to_one = witnesses.cosign(0, honest)
    assert shown_to_one.status == 200
    kept = scene.kept.with_name("cosigned")
    lines = parse_signatures(shown_to_one.body.decode())
    kept.write_bytes(Note(honest.text, (*honest.signatures, *lines)).encode())

    rewrite_everything(scene)
    forged = known(scene)
    assert forged.note.text != honest.text
    shown_to_two = witnesses.cosign(1, forged.note)
    assert shown_to_two.status == 200
    refused = witnesses.cosign(0, forged.note)
    assert refused.status in (409, 422)

    keep(scene, forged.head.size, shown_to_two)
    # Whoever asks for one of the two may be shown the forgery; whoever asks for both never is, and whoever kept the
    # head that the other one cosigned has the proof in hand.
    assert verdict(scene, witnesses, 1) == ("passed", [])
    assert verdict(scene, witnesses, 2) == ("indeterminate", [])
    assert verdict(scene, witnesses, 1, kept) == ("failed", ["head"])


def test_both_witnesses_vouch_for_an_honest_log(scene: Scene, witnesses: Witnesses) -> None:
    note = known(scene).note
    keep(scene, known(scene).head.size, *(witnesses.cosign(number, note) for number in (0, 1)))
    assert verdict(scene, witnesses, 2) == ("passed", [])


def test_what_a_revoked_key_signed_is_open_if_it_was_cosigned_before(scene: Scene, witnesses: Witnesses) -> None:
    """The key is revoked from before entries over which a head had been cosigned by then."""
    first = known(scene)
    keep(scene, first.head.size, *(witnesses.cosign(number, first.note) for number in (0, 1)))
    revoke_key(scene)
    for quorum, expected in ((0, "failed"), (2, "indeterminate")):
        log = log_trust(scene.trust, witnesses.keys if quorum else (), quorum)
        report = scene.database.verify(outside=read_outside(log, Memory(scene.memory)))
        assert (report.verdict, {finding.check for finding in report.findings}) == (
            expected,
            set() if quorum else {"key"},
        )
        assert report.doubtful == (report.counts.sealed - 5 if quorum else 0)


def test_a_cosignature_of_the_other_history_is_found_as_none(scene: Scene, witnesses: Witnesses) -> None:
    """The operator moves the honest head's cosignature beside the forged one."""
    line = witnesses.cosign(0, known(scene).note)
    rewrite_everything(scene)
    keep(scene, known(scene).head.size, line)
    assert verdict(scene, witnesses, 1) == ("failed", ["head"])
