"""Stored bytes never decide what code runs: not when an administrator wrote them, and not when they were bound."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ormsgpack
import pytest
from langgraph.checkpoint.serde.base import CipherProtocol, SerializerProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from psycopg import AsyncConnection

from conftest import Database
from countersign.audit import AsyncAuditedPostgresSaver, ConfigurationError, VerificationError
from tamper.cases import Case


@dataclass
class Stranger:
    """A type that no graph declares."""

    x: int


class NoCipher(CipherProtocol):
    """Encrypts nothing: it is what is inside that is refused."""

    def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
        return "none", plaintext

    def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
        return ciphertext


def _command(file: Path) -> str:
    return f"touch {file}"


def _payloads(file: Path) -> dict[str, tuple[str, bytes]]:
    """Return blobs that run a command when they are loaded permissively, by kind of trick."""

    def ext(code: int, *parts: Any) -> tuple[str, bytes]:
        return "msgpack", ormsgpack.packb(ormsgpack.Ext(code, ormsgpack.packb(parts)))

    command = _command(file)
    lc2 = f'{{"lc": 2, "type": "constructor", "id": ["os", "system"], "args": ["{command}"]}}'
    lc1 = f'{{"lc": 1, "type": "constructor", "id": ["os", "system"], "kwargs": {{"command": "{command}"}}}}'
    return {
        "one argument": ext(0, "os", "system", command),
        "arguments": ext(1, "os", "system", [command]),
        "keywords": ext(2, "os", "system", {"command": command}),
        "method": ext(3, "os", "system", command, "__call__"),
        "path": ext(3, "pathlib", "Path", str(file), "touch"),
        "pydantic 1": ext(4, "os", "system", command, "x"),
        "pydantic 2": ext(5, "os", "system", {"command": command}, "x"),
        "inside a list": (
            "msgpack",
            ormsgpack.packb([ormsgpack.Ext(0, ormsgpack.packb(("os", "system", command)))]),
        ),
        "json constructor": ("json", lc2.encode()),
        "langchain constructor": ("json", lc1.encode()),
        "pickle": ("pickle", b"cos\nsystem\n(S'" + command.encode() + b"'\ntR."),
    }


TRICKS = list(_payloads(Path("x")))


def test_the_tricks_work_on_a_permissive_serializer(tmp_path: Path) -> None:
    """Else the tests below would show nothing."""
    for trick in ("one argument", "arguments", "inside a list"):
        file = tmp_path / trick.replace(" ", "-")
        JsonPlusSerializer(allowed_msgpack_modules=True).loads_typed(_payloads(file)[trick])
        assert file.exists()
    pickled = tmp_path / "pickled"
    JsonPlusSerializer(pickle_fallback=True).loads_typed(_payloads(pickled)["pickle"])
    assert pickled.exists()


@pytest.mark.parametrize("trick", TRICKS)
@pytest.mark.parametrize("reader", ["same", "fresh"])
async def test_a_blob_that_names_a_command_is_refused(
    database: Database, tmp_path: Path, trick: str, reader: str
) -> None:
    file = tmp_path / "made"
    case = Case(database)
    async with database.saver() as saver, database.saver() as fresh:
        graph = await case.pause(saver)
        kind, blob = _payloads(file)[trick]
        assert database.as_admin(
            "UPDATE checkpoint_blobs SET type = %s, blob = %s WHERE thread_id = 'case'", (kind, blob)
        )
        assert database.as_admin(
            "UPDATE checkpoint_writes SET type = %s, blob = %s WHERE thread_id = 'case'", (kind, blob)
        )
        graph = graph if reader == "same" else case.graph(fresh)
        for call in (graph.aget_state(case.config), graph.ainvoke(None, case.config)):
            with pytest.raises(VerificationError):
                await call
    assert not file.exists()
    assert case.ran == []


@pytest.mark.parametrize("trick", TRICKS)
@pytest.mark.parametrize("attached", [False, True], ids=["saver", "attached"])
async def test_even_a_bound_blob_runs_nothing(
    database: Database,
    saver: AsyncAuditedPostgresSaver,
    tmp_path: Path,
    trick: str,
    attached: bool,  # noqa: FBT001
) -> None:
    file = tmp_path / "made"
    serde = Case(database).graph(saver).checkpointer.serde if attached else saver.serde
    loaded = _load(serde, _payloads(file)[trick])
    assert not file.exists()
    assert loaded is None or type(loaded).__module__ == "builtins", "data, or nothing"


def _load(serde: SerializerProtocol, typed: tuple[str, bytes]) -> Any:
    try:
        return serde.loads_typed(typed)
    except (NotImplementedError, ValueError) as error:
        return str(error)


async def test_a_type_that_only_the_database_names_stays_data(saver: AsyncAuditedPostgresSaver) -> None:
    loaded = saver.serde.loads_typed(JsonPlusSerializer().dumps_typed(Stranger(7)))
    assert loaded == {"x": 7}


@pytest.mark.parametrize(
    "serde",
    [
        JsonPlusSerializer(pickle_fallback=True, allowed_msgpack_modules=None),
        JsonPlusSerializer(allowed_msgpack_modules=True),
        JsonPlusSerializer(),
        JsonPlusSerializer(allowed_msgpack_modules=None, allowed_json_modules=True),
        JsonPlusSerializer(allowed_msgpack_modules=None, __unpack_ext_hook__=lambda code, data: (code, data)),
        EncryptedSerializer(NoCipher(), JsonPlusSerializer()),
    ],
    ids=["pickle", "any msgpack", "default", "any json", "hook of one's own", "encrypted default"],
)
async def test_a_permissive_serializer_is_refused(database: Database, serde: Any) -> None:
    async with await AsyncConnection.connect(database.app_url, autocommit=True) as conn:
        with pytest.raises(ConfigurationError):
            AsyncAuditedPostgresSaver(conn, serde=serde, home=database.home)


class Pickling(JsonPlusSerializer):
    """Passes every attribute check, and unpickles all the same."""

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        return pickle.loads(data[1])  # noqa: S301


async def test_a_serializer_derived_from_a_strict_one_is_refused(database: Database) -> None:
    assert Pickling(allowed_msgpack_modules=None).loads_typed(("x", pickle.dumps(7))) == 7
    async with await AsyncConnection.connect(database.app_url, autocommit=True) as conn:
        with pytest.raises(ConfigurationError):
            AsyncAuditedPostgresSaver(conn, serde=Pickling(allowed_msgpack_modules=None), home=database.home)
