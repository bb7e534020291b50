"""Signing: DSSE's pre-authentication encoding, checked with somebody else's implementation of DSSE."""

from __future__ import annotations

import base64
import copy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined] # they export it without saying so

from countersign.audit.entry import PAYLOAD_TYPE, Entry, EntryDraft, envelope, pae
from countersign.audit.keys import FileKey
from unit.samples import DEPLOYMENT, GRAPH, sealed

ENTRY = sealed(EntryDraft("case-1", "run.started"))


def their_key(key: FileKey) -> SSlibKey:
    return SSlibKey(key.keyid.hex(), "ed25519", "ed25519", {"public": key.public.raw.hex()})


def their_envelope(entry: Entry) -> Envelope:
    return Envelope.from_dict(copy.deepcopy(envelope(entry)))


def test_what_is_signed_has_the_form_of_the_specifications_own_example() -> None:
    example = Envelope(b"hello world", "http://example.com/HelloWorld", {}).pae()
    assert example == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert pae(b"hello world") == b"DSSEv1 %d application/vnd.countersign.entry+json 11 hello world" % 38
    assert pae(b"hello world") == Envelope(b"hello world", PAYLOAD_TYPE, {}).pae()


def test_lengths_are_counted_in_bytes() -> None:
    assert pae("\u00e9".encode()).endswith(b" 2 \xc3\xa9")
    assert pae(b"").endswith(b" 0 ")


@given(st.binary())
def test_what_is_signed_is_what_another_implementation_signs(body: bytes) -> None:
    assert pae(body) == Envelope(body, PAYLOAD_TYPE, {}).pae()


def test_the_envelope_has_these_members_and_no_other() -> None:
    assert envelope(ENTRY) == {
        "payload": base64.b64encode(ENTRY.body).decode(),
        "payloadType": "application/vnd.countersign.entry+json",
        "signatures": [{"keyid": GRAPH.keyid.hex(), "sig": base64.b64encode(ENTRY.signature).decode()}],
    }


def test_another_implementation_verifies_our_envelope() -> None:
    key = their_key(GRAPH)
    assert their_envelope(ENTRY).verify([key], 1) == {key.keyid: key}
    assert their_envelope(ENTRY).payload == ENTRY.body
    assert len(ENTRY.signature) == 64


DAMAGED: list[tuple[str, dict[str, Any]]] = [
    ("body", {"body": ENTRY.body.replace(b"case-1", b"case-2")}),
    ("signature", {"signature": bytes([ENTRY.signature[0] ^ 1]) + ENTRY.signature[1:]}),
    ("another key's signature", {"signature": DEPLOYMENT.sign(pae(ENTRY.body))}),
    ("a signature of the bare body", {"signature": GRAPH.sign(ENTRY.body)}),
]


@pytest.mark.parametrize("changes", [item[1] for item in DAMAGED], ids=[item[0] for item in DAMAGED])
def test_another_implementation_refuses_what_was_changed_and_so_do_we(changes: dict[str, Any]) -> None:
    damaged = replace(ENTRY, **changes)
    with pytest.raises(VerificationError):
        their_envelope(damaged).verify([their_key(GRAPH)], 1)
    assert not GRAPH.public.verifies(damaged.signature, pae(damaged.body))


def test_an_envelope_under_another_payload_type_is_not_ours() -> None:
    value: Any = envelope(ENTRY)
    value["payloadType"] = "application/json"
    with pytest.raises(VerificationError):
        Envelope.from_dict(value).verify([their_key(GRAPH)], 1)
