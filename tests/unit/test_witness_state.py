"""Our witness: each answer of the specification, what it never cosigns, and what is on its disk."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from countersign.audit.errors import ConfigurationError
from countersign.audit.keys import FileKey
from countersign.audit.note import (
    Algorithm,
    Note,
    Signature,
    VerifierKey,
    open_note,
    parse_note,
    parse_signatures,
    sign,
)
from countersign.audit.witness import OtherHistoryError, ShownHead, WitnessClient
from countersign.audit.witness_policy import Witness
from countersign.audit.witness_request import MAX_REQUEST, SIZE_TYPE, CosignRequest
from countersign.service.witness_server import witness_app
from countersign.service.witness_state import (
    MOST_CONFLICTS,
    Reply,
    WitnessState,
    create_witness,
    open_witness,
    trusted_logs,
)
from unit.heads import LOG, OTHER, SECONDS, log_key
from unit.samples import ORIGIN, key_of_seed
from unit.witnessing import head_of, known_of, proof_of, request_of

OTHER_ORIGIN = "other.invalid/log"
OTHER_LOG = log_key(key_of_seed(21), OTHER_ORIGIN)
NAME = "w.invalid/one"


class Place:
    """A witness's folder, and what its operator was told."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.key = create_witness(path, NAME)
        self.told: list[str] = []

    @contextmanager
    def opened(self, *logs: VerifierKey) -> Iterator[WitnessState]:
        keys = [key.text for key in logs or (log_key(),)]
        with open_witness(self.path, keys, self.told.append) as state:
            yield state

    @property
    def conflicts(self) -> dict[str, bytes]:
        return {str(path.relative_to(path.parents[1])): path.read_bytes() for path in self.path.rglob("conflicts/*/*")}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "witness")


def answer(state: WitnessState, request: CosignRequest | bytes) -> Reply:
    data = request if isinstance(request, bytes) else request.encode()
    return state.answer(data, lambda: SECONDS + 0.9)


def check_cosigned(reply: Reply, key: VerifierKey, text: str) -> None:
    assert reply.status == 200
    (signed,) = open_note(Note(text, parse_signatures(reply.body.decode())), required=(key,))
    assert signed.cosigned_at == SECONDS


def of_other_log(old: int, size: int) -> CosignRequest:
    head = head_of(size, origin=OTHER_ORIGIN)
    note = Note(head.text, (sign(head.text, OTHER_LOG, key_of_seed(21)),))
    return CosignRequest(old, proof_of(old, size), note)


def resigned(request: CosignRequest, *signatures: Signature) -> CosignRequest:
    return CosignRequest(request.old_size, request.proof, Note(request.note.text, signatures))


def with_text(old: int, text: str) -> CosignRequest:
    return CosignRequest(old, (), Note(text, (sign(text, log_key(), LOG),)))


GROWN = request_of(5, 9)
(SIGNED,) = GROWN.note.signatures
FOREIGN = sign(GROWN.note.text, log_key(OTHER), OTHER)
FORGED = Signature(SIGNED.name, SIGNED.key_id, bytes(64))
BAD_PROOF = (*GROWN.proof[:-1], bytes(32))
NO_TREE = f"{ORIGIN}\nfive\nx\n"
# The witness has cosigned the head of 5 leaves; what it answers then, in the order of the specification.
ANSWERS: dict[str, tuple[CosignRequest | bytes, int]] = {
    "no request": (b"old 5\n", 400),
    "an old size with zeroes": (GROWN.encode().replace(b"old 5", b"old 05"), 400),
    "no head": (with_text(5, NO_TREE), 400),
    "an extension line": (with_text(5, GROWN.note.text + "more\n"), 400),
    "a root of 31 bytes": (with_text(5, f"{ORIGIN}\n9\n{'A' * 42}==\n"), 400),
    "a log that is not known": (of_other_log(5, 9), 404),
    "no head of a log that is not known": (with_text(5, f"{OTHER_ORIGIN}\nfive\nx\n"), 404),
    "a log that is not known, unsigned, too old": (resigned(of_other_log(3, 9), FOREIGN), 404),
    "a signature of somebody else": (resigned(GROWN, FOREIGN), 403),
    "a signature that is wrong": (resigned(GROWN, FORGED), 403),
    "a signature twice": (resigned(GROWN, SIGNED, SIGNED), 403),
    "a signature beside a wrong one": (resigned(GROWN, FORGED, SIGNED), 403),
    "a wrong signature, and a smaller head": (resigned(CosignRequest(9, (), known_of(5).note), FOREIGN), 403),
    "an old size beyond the head": (CosignRequest(10, (), GROWN.note), 400),
    "a smaller head from the size it has": (CosignRequest(5, (), known_of(3).note), 400),
    "an old size that is too small": (request_of(3, 9), 409),
    "an old size that is too large": (request_of(7, 9), 409),
    "an old size of nothing": (request_of(0, 9), 409),
    "a smaller head": (request_of(2, 3), 409),
    "another old size, and a wrong proof": (CosignRequest(4, BAD_PROOF, GROWN.note), 409),
    "the same size with another root": (CosignRequest(5, (), known_of(5, fork_at=2).note), 409),
    "the same size with another root, from another": (request_of(3, 5, fork_at=2), 409),
    "the same size with another root and a proof": (CosignRequest(5, (bytes(32),), known_of(5, fork_at=2).note), 422),
    "a wrong proof": (CosignRequest(5, BAD_PROOF, GROWN.note), 422),
    "no proof": (CosignRequest(5, (), GROWN.note), 422),
    "a proof with a hash too many": (CosignRequest(5, (*GROWN.proof, bytes(32)), GROWN.note), 422),
    "a fork with its own proof": (request_of(5, 9, fork_at=4), 422),
    "a proof where none may be": (CosignRequest(5, (bytes(32),), known_of(5).note), 422),
    "a head that extends it": (GROWN, 200),
    "a head that extends it, with other signatures": (resigned(GROWN, FOREIGN, SIGNED, FOREIGN), 200),
    "the same head": (CosignRequest(5, (), known_of(5).note), 200),
}


@pytest.mark.parametrize(("request_", "status"), ANSWERS.values(), ids=ANSWERS)
def test_every_answer_of_the_specification(place: Place, request_: CosignRequest | bytes, status: int) -> None:
    with place.opened() as state:
        check_cosigned(answer(state, request_of(0, 5)), place.key, head_of(5).text)
        before = stored(place)
        reply = answer(state, request_)
        assert reply.status == status
        if status == 200:
            assert isinstance(request_, CosignRequest)
            check_cosigned(reply, place.key, request_.note.text)
            assert stored(place).text == request_.note.text
        else:
            assert stored(place) == before
        assert (reply.media_type == SIZE_TYPE) == (status == 409)
        if status == 409:
            assert reply.body == b"5\n"


def stored(place: Place) -> Note:
    (path,) = place.path.glob("logs/*/head")
    return parse_note(path.read_bytes())


FIRST = {
    "a head": (request_of(0, 5), 200),
    "the empty tree": (CosignRequest(0, (), known_of(0).note), 200),
    "an old size": (request_of(3, 5), 409),
    "a proof": (CosignRequest(0, (bytes(32),), known_of(5).note), 422),
}


@pytest.mark.parametrize(("request_", "status"), FIRST.values(), ids=FIRST)
def test_a_log_that_is_new_begins_at_nothing(place: Place, request_: CosignRequest, status: int) -> None:
    with place.opened() as state:
        reply = answer(state, request_)
    assert reply.status == status
    assert (reply.body == b"0\n") == (status == 409)
    assert bool(list(place.path.glob("logs/*/head"))) == (status == 200)
    assert not place.conflicts


def test_only_the_logs_signatures_are_stored(place: Place) -> None:
    with place.opened() as state:
        answer(state, request_of(0, 5))
        answer(state, resigned(GROWN, FOREIGN, SIGNED))
    assert stored(place) == Note(GROWN.note.text, (SIGNED,))


KEPT = {
    "the same size with another root": (CosignRequest(5, (), known_of(5, fork_at=2).note), True),
    "the same, from another size": (request_of(3, 5, fork_at=2), True),
    "the same, with a proof": (CosignRequest(5, (bytes(32),), known_of(5, fork_at=2).note), True),
    "a fork": (request_of(5, 9, fork_at=4), True),
    "a smaller head": (request_of(2, 3), False),
    "a signature that is wrong": (resigned(request_of(5, 9, fork_at=4), FORGED), False),
}


@pytest.mark.parametrize(("request_", "kept"), KEPT.values(), ids=KEPT)
def test_what_the_log_signed_and_cannot_stand_is_kept_once(
    place: Place, request_: CosignRequest, *, kept: bool
) -> None:
    with place.opened() as state:
        answer(state, request_of(0, 5))
        for _ in range(2):
            answer(state, request_)
        assert (" 1 refused heads " in "".join(state.describe())) == kept
    folders = {name.rpartition("/")[0] for name in place.conflicts}
    assert len(folders) == kept
    assert len(place.told) == 2 * kept
    if kept:
        (folder,) = folders
        cosigned, refused = (place.conflicts[f"{folder}/{name}"] for name in ("cosigned", "refused"))
        assert (cosigned, refused) == (known_of(5).note.encode(), request_.encode())
        assert folder in place.told[0]


def test_not_more_is_kept_than_would_prove_more(place: Place) -> None:
    with place.opened() as state:
        answer(state, request_of(0, 5))
        (folder,) = place.path.glob("logs/*")
        for number in range(MOST_CONFLICTS - 1):
            (folder / "conflicts" / str(number)).mkdir(parents=True)
        for fork_at in (1, 2, 3):
            assert answer(state, CosignRequest(5, (), known_of(5, fork_at).note)).status == 409
    assert len(place.conflicts) == 2
    assert len(place.told) == 3


def test_two_logs_are_apart(place: Place) -> None:
    with place.opened(log_key(), OTHER_LOG) as state:
        check_cosigned(answer(state, request_of(0, 5)), place.key, head_of(5).text)
        check_cosigned(answer(state, of_other_log(0, 3)), place.key, head_of(3, origin=OTHER_ORIGIN).text)
        assert answer(state, of_other_log(5, 9)).body == b"3\n"
        check_cosigned(answer(state, GROWN), place.key, head_of(9).text)
        swapped = Note(
            head_of(9, origin=OTHER_ORIGIN).text, (sign(head_of(9, origin=OTHER_ORIGIN).text, log_key(), LOG),)
        )
        assert answer(state, CosignRequest(3, proof_of(3, 9), swapped)).status == 403
    assert len(list(place.path.glob("logs/*/head"))) == 2


def test_it_goes_on_after_a_restart_and_with_a_new_key_of_the_log(place: Place) -> None:
    new = log_key(OTHER)
    with place.opened() as state:
        answer(state, request_of(0, 5))
    with place.opened(log_key(), new) as state:
        assert list(state.describe()) == [f"{ORIGIN}: last cosigned a head of 5 leaves"]
        assert answer(state, request_of(0, 9)).body == b"5\n"
        assert answer(state, CosignRequest(5, (), known_of(5, fork_at=2).note)).status == 409
        assert answer(state, resigned(GROWN, FOREIGN)).status == 200
    with place.opened(new) as state:
        assert answer(state, GROWN).status == 403
        assert answer(state, resigned(request_of(5, 9), FOREIGN)).body == b"9\n"


def test_of_many_forks_at_once_one_is_cosigned(place: Place) -> None:
    """Sixteen threads ask for sixteen forks of one size, all from the size that the witness has."""
    replies: list[tuple[int, Reply]] = []
    requests = [CosignRequest(0, (), known_of(20, fork_at).note).encode() for fork_at in range(16)]
    ready = threading.Barrier(len(requests))

    def ask(state: WitnessState, number: int) -> None:
        ready.wait()
        replies.append((number, state.answer(requests[number], lambda: SECONDS)))

    with place.opened() as state:
        threads = [threading.Thread(target=ask, args=(state, number)) for number in range(len(requests))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    statuses = sorted(reply.status for _, reply in replies)
    assert statuses == [200] + [409] * (len(requests) - 1)
    (winner,) = [number for number, reply in replies if reply.status == 200]
    assert stored(place).text == head_of(20, winner).text


def test_where_the_disk_does_not_take_it_nothing_is_cosigned(place: Place) -> None:
    with place.opened() as state:
        answer(state, request_of(0, 5))
        (path,) = place.path.glob("logs/*/head")
        (path.parent / "head.new").mkdir()  # in the way
        with pytest.raises(OSError, match=r"head\.new"):
            answer(state, GROWN)
        assert answer(state, request_of(7, 9)).body == b"5\n"
        with TestClient(witness_app(state, place.told.append)) as http:
            response = http.post("/add-checkpoint", content=GROWN.encode())
        assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
        assert "head.new" in place.told[-1]
        (path.parent / "head.new").rmdir()
        assert answer(state, GROWN).status == 200


# --- the folder


def test_making_is_not_loading(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no witness") as refused, open_witness(tmp_path, [], print):
        pass
    assert "--init" in refused.value.remedy
    assert not list(tmp_path.iterdir())
    create_witness(tmp_path, NAME)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ConfigurationError, match="never overwritten"):
        create_witness(tmp_path, NAME)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\n"])
def test_a_witness_has_a_name_that_a_key_may_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="name of a key"):
        create_witness(tmp_path / "w", name)
    assert not (tmp_path / "w").exists()


def test_one_process_holds_it(place: Place) -> None:
    with (
        place.opened(),
        pytest.raises(ConfigurationError, match="another process"),
        open_witness(place.path, [log_key().text], print),
    ):
        pass
    with place.opened():
        pass


def _empty(place: Place, name: str) -> None:
    next(place.path.glob(name)).write_bytes(b"")


DAMAGED: dict[str, tuple[Callable[[Place], object], str]] = {
    "a head cut off": (lambda place: _empty(place, "logs/*/head"), "head"),
    "a head of another log": (
        lambda place: next(place.path.glob("logs/*/head")).write_bytes(of_other_log(0, 3).note.encode()), "head",
    ),
    "no heads": (lambda place: (place.path / "logs").rename(place.path / "gone"), "logs"),
    "no key": (lambda place: (place.path / "witness.pem").unlink(), "witness.pem"),
    "another key": (
        lambda place: FileKey.create((place.path / "witness.pem").rename(place.path / "old").with_name("witness.pem")),
        "witness.vkey",
    ),
    "no verifier key": (lambda place: _empty(place, "witness.vkey"), "witness.vkey"),
    "the verifier key of a log": (
        lambda place: (place.path / "witness.vkey").write_text(f"{log_key().text}\n"), "witness.vkey",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "name"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_folder_is_not_begun_anew(place: Place, damage: Callable[[Place], object], name: str) -> None:
    with place.opened() as state:
        answer(state, request_of(0, 5))
    damage(place)
    with pytest.raises(ConfigurationError, match=name), place.opened():
        pass


def test_logs_are_named_by_keys_of_logs(place: Place) -> None:
    own = VerifierKey("x.invalid", Algorithm.LOG, place.key.public)
    for keys in ([place.key.text], ["nonsense"], [own.text], [log_key().text] * 2):
        with pytest.raises(ConfigurationError) as refused:
            trusted_logs(keys, place.key)
        assert refused.value.remedy
    assert set(trusted_logs([log_key().text, log_key(OTHER).text, OTHER_LOG.text], place.key)) == {ORIGIN, OTHER_ORIGIN}


# --- over HTTP, in this process


@contextmanager
def served(place: Place, **how: float) -> Iterator[TestClient[Litestar]]:
    with ExitStack() as stack:
        state = stack.enter_context(place.opened())
        app = witness_app(state, place.told.append, now=lambda: SECONDS, **how)
        yield stack.enter_context(TestClient(app))


def test_answers_are_sent_as_they_are(place: Place) -> None:
    with served(place) as http:
        good = http.post("/add-checkpoint", content=request_of(0, 5).encode())
        check_cosigned(Reply(good.status_code, good.content), place.key, head_of(5).text)
        conflict = http.post("/add-checkpoint", content=request_of(0, 5).encode())
        assert (conflict.status_code, conflict.content) == (409, b"5\n")
        assert conflict.headers["Content-Type"] == SIZE_TYPE
        assert http.post("/add-checkpoint", content=b"").status_code == 400
        assert http.get("/add-checkpoint").status_code == 405
        assert http.post("/add-checkpoint/more", content=b"").status_code == 404


@pytest.mark.parametrize("chunked", [False, True])
def test_a_request_may_not_be_too_long(place: Place, *, chunked: bool) -> None:
    too_long = b"old 0\n" + b"x" * MAX_REQUEST
    with served(place) as http:
        content = iter([too_long[:1000], too_long[1000:]]) if chunked else too_long
        assert http.post("/add-checkpoint", content=content).status_code == 413


def test_our_client_asks_our_witness(place: Place) -> None:
    with served(place) as http:
        client = WitnessClient(Witness("w", place.key, "http://testserver.local"), http)
        for size in (3, 5, 5, 300, 3_000):
            came = client.ask(ShownHead(known_of(size)), 60)
            assert (came.head, came.cosigned_at) == (head_of(size), SECONDS)
        fresh = WitnessClient(client.witness, http)
        assert fresh.ask(ShownHead(known_of(3_001)), 60).head.size == 3_001
        for forked in (known_of(3_001, fork_at=9), known_of(3_002, fork_at=9)):
            with pytest.raises(OtherHistoryError) as alarm:
                WitnessClient(client.witness, http).ask(ShownHead(forked), 60)
            assert alarm.value.size is None
        with pytest.raises(OtherHistoryError) as behind:
            client.ask(ShownHead(known_of(300)), 60)
        assert behind.value.size == 3_001
    assert len(place.conflicts) == 4
