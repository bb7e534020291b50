"""Evidence: entries and payloads, the guard against changing them, and the two roles.

There is no downgrade: a trail that can be dropped by a migration is no trail.
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None

_TABLES = ("entries", "payloads")

# The one INSERT. In one statement, one round trip: locks, the check that the trail still ends where the caller knows it
# to end (so that what it signed fits), the entry, LangGraph's rows, and the check that the tables hold what was sent.
# A trigger that edits rows on their way in fails the statement. Returns the entry's seq; NULL means that the
# trail went on meanwhile and nothing was done. Each statement inside a volatile function sees what was committed
# before it began, so the end of the trail is read after the lock was obtained.
_APPEND = """
CREATE FUNCTION countersign.append(
    p_keys_lock bigint, p_lock bigint, p_trail text, p_seq bigint, p_prev bytea, p_kind text, p_at timestamptz,
    p_body bytea, p_keyid bytea, p_signature bytea, p_salt bytea, p_data bytea
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    at_seq bigint;
    at_hash bytea;
    same boolean;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'an entry cannot be appended under isolation %', current_setting('transaction_isolation');
    END IF;
    PERFORM pg_advisory_xact_lock_shared(p_keys_lock);
    PERFORM pg_advisory_xact_lock(p_lock);
    SELECT seq, sha256('\\x00'::bytea || body) INTO at_seq, at_hash
    FROM audit.entries WHERE trail = p_trail ORDER BY seq DESC LIMIT 1;
    IF coalesce(at_seq, 0) IS DISTINCT FROM p_seq OR (p_seq > 0 AND at_hash IS DISTINCT FROM p_prev) THEN
        RETURN NULL;
    END IF;
    INSERT INTO audit.entries (trail, seq, kind, occurred_at, body, keyid, signature)
    VALUES (p_trail, p_seq + 1, p_kind, p_at, p_body, p_keyid, p_signature)
    RETURNING trail = p_trail AND seq = p_seq + 1 AND kind = p_kind AND occurred_at = p_at
        AND body = p_body AND keyid = p_keyid AND signature = p_signature INTO same;
    IF same IS NOT TRUE THEN
        RAISE EXCEPTION 'audit.entries holds something else than was sent' USING ERRCODE = 'CS002';
    END IF;
    IF p_salt IS NOT NULL THEN
        INSERT INTO audit.payloads (trail, seq, salt, data) VALUES (p_trail, p_seq + 1, p_salt, p_data)
        RETURNING trail = p_trail AND seq = p_seq + 1 AND salt = p_salt AND data = p_data INTO same;
        IF same IS NOT TRUE THEN
            RAISE EXCEPTION 'audit.payloads holds something else than was sent' USING ERRCODE = 'CS002';
        END IF;
    END IF;
    RETURN p_seq + 1;
END
$$
"""

_PUT = """
CREATE FUNCTION countersign.put(
    p_keys_lock bigint, p_lock bigint, p_trail text, p_seq bigint, p_prev bytea, p_kind text, p_at timestamptz,
    p_body bytea, p_keyid bytea, p_signature bytea, p_salt bytea, p_data bytea,
    p_ns text, p_id text, p_parent text, p_checkpoint text, p_metadata text,
    p_channel text[], p_version text[], p_type text[], p_blob bytea[]
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    at_seq bigint;
    same boolean;
BEGIN
    at_seq := countersign.append(p_keys_lock, p_lock, p_trail, p_seq, p_prev, p_kind, p_at, p_body, p_keyid,
                                 p_signature, p_salt, p_data);
    IF at_seq IS NULL THEN
        RETURN NULL;
    END IF;
    FOR i IN 1 .. cardinality(p_channel) LOOP
        INSERT INTO checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)
        VALUES (p_trail, p_ns, p_channel[i], p_version[i], p_type[i], p_blob[i])
        RETURNING thread_id = p_trail AND checkpoint_ns = p_ns AND channel = p_channel[i] AND version = p_version[i]
            AND type = p_type[i] AND blob IS NOT DISTINCT FROM p_blob[i] INTO same;
        IF same IS NOT TRUE THEN
            RAISE EXCEPTION 'checkpoint_blobs holds something else than was sent' USING ERRCODE = 'CS001';
        END IF;
    END LOOP;
    INSERT INTO checkpoints (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata)
    VALUES (p_trail, p_ns, p_id, p_parent, p_checkpoint::jsonb, p_metadata::jsonb)
    RETURNING thread_id = p_trail AND checkpoint_ns = p_ns AND checkpoint_id = p_id AND type IS NULL
        AND parent_checkpoint_id IS NOT DISTINCT FROM p_parent
        AND checkpoint::text = p_checkpoint AND metadata::text = p_metadata INTO same;
    IF same IS NOT TRUE THEN
        RAISE EXCEPTION 'checkpoints holds something else than was sent' USING ERRCODE = 'CS001';
    END IF;
    RETURN at_seq;
END
$$
"""

_PUT_WRITES = """
CREATE FUNCTION countersign.put_writes(
    p_keys_lock bigint, p_lock bigint, p_trail text, p_seq bigint, p_prev bytea, p_kind text, p_at timestamptz,
    p_body bytea, p_keyid bytea, p_signature bytea, p_salt bytea, p_data bytea,
    p_ns text, p_id text, p_task text, p_path text, p_idx int[], p_channel text[], p_type text[], p_blob bytea[]
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    at_seq bigint;
    same boolean;
BEGIN
    at_seq := countersign.append(p_keys_lock, p_lock, p_trail, p_seq, p_prev, p_kind, p_at, p_body, p_keyid,
                                 p_signature, p_salt, p_data);
    IF at_seq IS NULL THEN
        RETURN NULL;
    END IF;
    FOR i IN 1 .. cardinality(p_idx) LOOP
        INSERT INTO checkpoint_writes
            (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob)
        VALUES (p_trail, p_ns, p_id, p_task, p_path, p_idx[i], p_channel[i], p_type[i], p_blob[i])
        RETURNING thread_id = p_trail AND checkpoint_ns = p_ns AND checkpoint_id = p_id AND task_id = p_task
            AND task_path = p_path AND idx = p_idx[i] AND channel = p_channel[i] AND type = p_type[i]
            AND blob = p_blob[i] INTO same;
        IF same IS NOT TRUE THEN
            RAISE EXCEPTION 'checkpoint_writes holds something else than was sent' USING ERRCODE = 'CS001';
        END IF;
    END LOOP;
    RETURN at_seq;
END
$$
"""


def upgrade() -> None:
    op.execute("CREATE SCHEMA IF NOT EXISTS audit")
    op.execute(
        """
        CREATE TABLE audit.entries (
            trail text COLLATE "C" NOT NULL,
            seq bigint NOT NULL,
            kind text NOT NULL,
            occurred_at timestamptz NOT NULL,
            body bytea NOT NULL,
            keyid bytea NOT NULL,
            signature bytea NOT NULL,
            CONSTRAINT entries_pkey PRIMARY KEY (trail, seq)
        )
        """
    )
    op.execute(
        """
        CREATE TABLE audit.payloads (
            trail text COLLATE "C" NOT NULL,
            seq bigint NOT NULL,
            salt bytea NOT NULL,
            data bytea NOT NULL,
            CONSTRAINT payloads_pkey PRIMARY KEY (trail, seq)
        )
        """
    )
    op.execute(
        """
        CREATE FUNCTION countersign.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION '% on %.% is refused: evidence is only ever added to', TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME
                USING ERRCODE = 'insufficient_privilege',
                      HINT = 'What was wrong is corrected by a new entry.';
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
    for function in (_APPEND, _PUT, _PUT_WRITES):
        op.execute(function)
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
