"""Evidence: entries and payloads, the guard against changing them, and the two roles.

There is no downgrade: a trail that can be dropped by a migration is no trail.
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None

_TABLES = ("entries", "payloads")


def upgrade() -> None:
    op.execute("CREATE SCHEMA IF NOT EXISTS audit")
    op.execute(
        """
        CREATE TABLE audit.entries (
            trail text COLLATE "C" NOT NULL,
            seq bigint NOT NULL CONSTRAINT entries_seq_check CHECK (seq >= 1),
            kind text NOT NULL,
            occurred_at timestamptz NOT NULL,
            body bytea NOT NULL CONSTRAINT entries_body_check CHECK (octet_length(body) <= 65535),
            keyid bytea NOT NULL CONSTRAINT entries_keyid_check CHECK (octet_length(keyid) = 32),
            signature bytea NOT NULL CONSTRAINT entries_signature_check CHECK (octet_length(signature) = 64),
            CONSTRAINT entries_pkey PRIMARY KEY (trail, seq)
        )
        """
    )
    op.execute(
        """
        CREATE TABLE audit.payloads (
            trail text COLLATE "C" NOT NULL,
            seq bigint NOT NULL,
            salt bytea NOT NULL CONSTRAINT payloads_salt_check CHECK (octet_length(salt) = 32),
            data bytea NOT NULL,
            CONSTRAINT payloads_pkey PRIMARY KEY (trail, seq),
            CONSTRAINT payloads_entries_fkey FOREIGN KEY (trail, seq) REFERENCES audit.entries (trail, seq)
        )
        """
    )
    op.execute(
        """
        CREATE FUNCTION countersign.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION '% on %.% is refused: evidence is only ever added to', TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME
                USING ERRCODE = 'insufficient_privilege',
                      HINT = 'Corrections are new entries; see docs/architecture.md.';
        END
        $$
        """
    )
    for table in _TABLES:
        op.execute(
            f"""
            CREATE TRIGGER {table}_are_evidence BEFORE UPDATE OR DELETE OR TRUNCATE ON audit.{table}
            FOR EACH STATEMENT EXECUTE FUNCTION countersign.refuse_change()
            """
        )
    for role in ("countersign_app", "countersign_auditor"):
        op.execute(
            f"""
            DO $$ BEGIN
                IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN CREATE ROLE {role} NOLOGIN; END IF;
            END $$
            """
        )
        op.execute(f"GRANT USAGE ON SCHEMA audit, countersign TO {role}")
        op.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA audit, countersign TO {role}")
    op.execute("GRANT INSERT ON audit.entries, audit.payloads TO countersign_app")
