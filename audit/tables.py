"""The tables of the schema `audit`: evidence, and nothing else. Alembic's target.

No column here says anything that a signed body does not fix, so there is no serial and no default time. Operational
state (Alembic's version, caches, queues) lies in the schema `countersign`; LangGraph's tables lie where it puts them.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

EVIDENCE_SCHEMA = "audit"
STATE_SCHEMA = "countersign"

metadata = MetaData(
    schema=EVIDENCE_SCHEMA,
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "ck": "%(table_name)s_%(constraint_name)s_check",
        "uq": "%(table_name)s_%(column_0_name)s_key",
    },
)

# The "C" collation orders by bytes, the same on every machine and in every later version of an operating system.
_trail = Text(collation="C")

entries = Table(
    "entries",
    metadata,
    Column("trail", _trail, primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("occurred_at", DateTime(timezone=True), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("keyid", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    CheckConstraint("seq >= 1", name="seq"),
    CheckConstraint("octet_length(body) <= 65535", name="body"),
    CheckConstraint("octet_length(keyid) = 32", name="keyid"),
    CheckConstraint("octet_length(signature) = 64", name="signature"),
    # To find entries quickly; not evidence. A second one, by person, is an expression and stands in its migration only.
    Index("entries_by_time", "occurred_at", "trail", "seq"),
)

# No foreign key: it would lock the entry's row at each insert, and verify finds a payload without an entry anyhow.
payloads = Table(
    "payloads",
    metadata,
    Column("trail", _trail, primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("salt", LargeBinary, nullable=False),
    Column("data", LargeBinary, nullable=False),
    CheckConstraint("octet_length(salt) = 32", name="salt"),
)

# Where an entry stands in the log: the root hash of every later head fixes it. No foreign key, as above.
leaves = Table(
    "leaves",
    metadata,
    Column("trail", _trail, primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("leaf_index", BigInteger, nullable=False),
    Column("leaf_hash", LargeBinary, nullable=False),
    UniqueConstraint("leaf_index"),
)

# Signed heads, numbered from 1 without a gap in the order of their tree sizes, of which the note is the truth.
heads = Table(
    "heads",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("tree_size", BigInteger, nullable=False),
    Column("note", LargeBinary, nullable=False),
    UniqueConstraint("tree_size"),
)

# What witnesses sent of a head: a signature line of its note, which says name and key id too.
cosignatures = Table(
    "cosignatures",
    metadata,
    Column("tree_size", BigInteger, primary_key=True, autoincrement=False),
    Column("name", Text, primary_key=True),
    Column("key_id", LargeBinary, primary_key=True),
    Column("line", LargeBinary, nullable=False),
)

# What a time stamping authority sent of a head: an RFC 3161 response over the text of its note.
tokens = Table(
    "tokens",
    metadata,
    Column("tree_size", BigInteger, primary_key=True, autoincrement=False),
    Column("token", LargeBinary, nullable=False),
)
