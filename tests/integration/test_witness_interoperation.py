"""Witness and client against those of somebody else, both ways, each served for real.

`aics-tlog` and `aics-witness` declare Python 3.12 as their oldest, so with 3.11 they are not installed and these tests
say so.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from countersign.audit.memory import Known
from countersign.audit.merkle import consistency_proof
from countersign.audit.note import VerifierKey, merged_note
from countersign.audit.witness import OtherHistoryError, ShownHead, WitnessClient
from countersign.audit.witness_policy import Witness
from integration.witnessed import running
from unit.heads import log_key
from unit.samples import ORIGIN
from unit.witnessing import head_of, known_of

REASON = "aics-tlog and aics-witness are not installed: they need Python 3.12"
tlog = pytest.importorskip("aics_tlog", reason=REASON, exc_type=ImportError)
feeder = pytest.importorskip("aics_witness.feeder", reason=REASON, exc_type=ImportError)
AICS = [sys.executable, "-m", "aics_witness"]


def make_theirs(folder: Path) -> VerifierKey:
    config = ["--config", str(folder / "witness.json")]
    made = subprocess.run(
        [*AICS, "init", *config, "--name", "theirs.invalid/w"], check=True, capture_output=True, text=True
    )
    subprocess.run(
        [*AICS, "add-log", *config, "--origin", ORIGIN, "--vkey", log_key().text], check=True, capture_output=True
    )
    return VerifierKey.parse(made.stdout.strip())


@contextmanager
def served(folder: Path, key: VerifierKey) -> Iterator[Witness]:
    """Serve their witness, and yield it when it listens, which it logs."""
    words = [*AICS, "serve", "--config", str(folder / "witness.json"), "--listen", "127.0.0.1:0"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            lines = (re.search(r"listening on (http://[^ ]+)", line) for line in process.stderr)
            found = next(line for line in lines if line)
            yield Witness("theirs", key, found[1])
        finally:
            process.terminate()
            process.communicate()


def check_there(known: Known, witness: Witness, came: object) -> None:
    result = tlog.verify_checkpoint(
        tlog.parse_note(merged_note(known.note, [came.signature]).encode()),  # type: ignore[attr-defined]
        tlog.parse_vkey(log_key().text),
        [tlog.parse_vkey(witness.key.text)],
        1,
        expected_origin=ORIGIN,
    )
    assert result.ok, result.error
    assert (result.size, result.root) == (known.head.size, known.head.root)


def test_their_witness_cosigns_our_heads_also_after_a_restart(tmp_path: Path) -> None:
    key = make_theirs(tmp_path)
    with served(tmp_path, key) as witness, httpx.Client(trust_env=False) as http:
        client = WitnessClient(witness, http)
        for size in (1, 3, 3, 256, 600):
            came = client.ask(ShownHead(known_of(size)), 60)
            assert came.head == head_of(size)
            check_there(known_of(size), witness, came)
    with served(tmp_path, key) as witness, httpx.Client(trust_env=False) as http:
        assert WitnessClient(witness, http).ask(ShownHead(known_of(600)), 60).head.size == 600
        assert WitnessClient(witness, http, old_size=600).ask(ShownHead(known_of(777)), 60).head.size == 777
        for known in (known_of(777, fork_at=5), known_of(900, fork_at=770)):
            with pytest.raises(OtherHistoryError) as alarm:
                WitnessClient(witness, http).ask(ShownHead(known), 60)
            assert (alarm.value.size, alarm.value.answer.status) == (None, 422)
        with pytest.raises(OtherHistoryError) as behind:
            WitnessClient(witness, http).ask(ShownHead(known_of(300)), 60)
        assert behind.value.size == 777


def test_our_witness_answers_their_client_also_after_a_restart(tmp_path: Path) -> None:
    def submit(url: str | None, key: VerifierKey, known: Known) -> str:
        with feeder.WitnessClient(url, tlog.parse_vkey(key.text)) as client:
            line = client.submit(known.note.encode(), lambda old, new: consistency_proof(known.tiles.read, old, new))
        return str(line)

    with running(tmp_path / "w", log_key()) as first:
        for size in (3, 256, 257):
            assert submit(first.witness.url, first.witness.key, known_of(size)).startswith("\u2014 one.invalid ")
    with running(tmp_path / "w", log_key()) as second, httpx.Client(trust_env=False) as http:
        url, key = second.witness.url, second.witness.key
        assert submit(url, key, known_of(600)).startswith("\u2014 one.invalid ")
        check_there(
            known_of(600), second.witness, WitnessClient(second.witness, http).ask(ShownHead(known_of(600)), 60)
        )
        with pytest.raises(feeder.WitnessAhead):
            submit(url, key, known_of(300))
        for known in (known_of(600, fork_at=9), known_of(900, fork_at=9)):
            with pytest.raises(feeder.FeederError):
                submit(url, key, known)
