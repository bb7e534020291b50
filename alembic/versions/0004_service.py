"""The service: its own tables in the schema `countersign`, and the two roles under which it and its workers connect.

Nothing here is evidence. What decides about a sign-off is read from entries; these tables find things quickly, hold the
secrets that no entry may hold, and can be filled again from the entries but for those.

There is no downgrade: the evidence of the cases would stay, and nobody could go on with them.
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"

_TABLES = (
    # Who may sign in. The id stands in entries and is never used again; the names do not stand in bodies.
    """
    CREATE TABLE countersign.users (
        id text NOT NULL,
        username text NOT NULL,
        printed_name text NOT NULL,
        active boolean NOT NULL,
        created_at timestamptz NOT NULL,
        CONSTRAINT users_pkey PRIMARY KEY (id),
        CONSTRAINT users_username_key UNIQUE (username)
    )
    """,
    # own: chosen by the user, not by an administrator. Only such a password signs.
    """
    CREATE TABLE countersign.credentials (
        id text NOT NULL,
        user_id text NOT NULL,
        kind text NOT NULL,
        secret text NOT NULL,
        own boolean NOT NULL,
        enrolled_at timestamptz NOT NULL,
        revoked_at timestamptz,
        CONSTRAINT credentials_pkey PRIMARY KEY (id),
        CONSTRAINT credentials_user_id_fkey FOREIGN KEY (user_id) REFERENCES countersign.users (id)
    )
    """,
    """
    CREATE UNIQUE INDEX credentials_one_password ON countersign.credentials (user_id)
    WHERE revoked_at IS NULL AND kind = 'password'
    """,
    # workflow: a name, or * for all.
    """
    CREATE TABLE countersign.grants (
        id text NOT NULL,
        user_id text NOT NULL,
        role text NOT NULL,
        workflow text NOT NULL,
        valid_from timestamptz NOT NULL,
        valid_until timestamptz,
        revoked_at timestamptz,
        CONSTRAINT grants_pkey PRIMARY KEY (id),
        CONSTRAINT grants_user_id_fkey FOREIGN KEY (user_id) REFERENCES countersign.users (id)
    )
    """,
    "CREATE INDEX grants_user_id ON countersign.grants (user_id)",
    # digest: SHA-256 of what the client holds. signed: whether all components were given in this session before.
    """
    CREATE TABLE countersign.sessions (
        id text NOT NULL,
        digest bytea NOT NULL,
        user_id text NOT NULL,
        credential_id text NOT NULL,
        opened_at timestamptz NOT NULL,
        seen_at timestamptz NOT NULL,
        expires_at timestamptz NOT NULL,
        closed_at timestamptz,
        signed boolean NOT NULL,
        CONSTRAINT sessions_pkey PRIMARY KEY (id),
        CONSTRAINT sessions_digest_key UNIQUE (digest),
        CONSTRAINT sessions_user_id_fkey FOREIGN KEY (user_id) REFERENCES countersign.users (id)
    )
    """,
    "CREATE INDEX sessions_user_id ON countersign.sessions (user_id)",
    """
    CREATE TABLE countersign.api_keys (
        id text NOT NULL,
        digest bytea NOT NULL,
        name text NOT NULL,
        made_by text NOT NULL,
        scopes text[] NOT NULL,
        roles text[] NOT NULL,
        workflow text NOT NULL,
        made_at timestamptz NOT NULL,
        expires_at timestamptz NOT NULL,
        revoked_at timestamptz,
        CONSTRAINT api_keys_pkey PRIMARY KEY (id),
        CONSTRAINT api_keys_digest_key UNIQUE (digest)
    )
    """,
    # policy and parts: the canonical documents of workflow.registered, entry `seq` of @system.
    """
    CREATE TABLE countersign.workflows (
        name text NOT NULL,
        version text NOT NULL,
        seq bigint NOT NULL,
        leaf_hash bytea NOT NULL,
        policy bytea NOT NULL,
        parts bytea NOT NULL,
        registered_at timestamptz NOT NULL,
        CONSTRAINT workflows_pkey PRIMARY KEY (name, version),
        CONSTRAINT workflows_seq_key UNIQUE (seq)
    )
    """,
    # mandate: the seq of the entry that the worker acts on or acted on last. case_number: the caller's own, content.
    """
    CREATE TABLE countersign.cases (
        id text COLLATE "C" NOT NULL,
        workflow text NOT NULL,
        version text NOT NULL,
        case_number text,
        status text NOT NULL,
        started_by text NOT NULL,
        started_at timestamptz NOT NULL,
        changed_at timestamptz NOT NULL,
        mandate bigint NOT NULL,
        problem text,
        CONSTRAINT cases_pkey PRIMARY KEY (id)
    )
    """,
    "CREATE INDEX cases_by_start ON countersign.cases (started_at DESC, id DESC)",
    "CREATE INDEX cases_by_workflow ON countersign.cases (workflow, status, started_at DESC, id DESC)",
    "CREATE INDEX cases_at_work ON countersign.cases (changed_at) WHERE status = 'running'",
    # role: whose turn it is; other_role: who may decide in their place since the review was escalated. barred: who may
    # not sign it now, whatever their role: whoever started or corrected the case, and who has signed already.
    """
    CREATE TABLE countersign.reviews (
        id text COLLATE "C" NOT NULL,
        case_id text COLLATE "C" NOT NULL,
        workflow text NOT NULL,
        gate text NOT NULL,
        status text NOT NULL,
        round integer NOT NULL,
        role text NOT NULL,
        other_role text,
        barred text[] NOT NULL,
        opened_at timestamptz NOT NULL,
        changed_at timestamptz NOT NULL,
        remind_at timestamptz,
        escalate_at timestamptz,
        expire_at timestamptz,
        claimed_by text,
        outcome text,
        CONSTRAINT reviews_pkey PRIMARY KEY (id),
        CONSTRAINT reviews_case_id_fkey FOREIGN KEY (case_id) REFERENCES countersign.cases (id)
    )
    """,
    "CREATE INDEX reviews_of_case ON countersign.reviews (case_id, opened_at)",
    "CREATE INDEX reviews_open ON countersign.reviews (workflow, role, opened_at, id) WHERE status = 'open'",
    """
    CREATE INDEX reviews_open_other ON countersign.reviews (workflow, other_role, opened_at, id)
    WHERE status = 'open' AND other_role IS NOT NULL
    """,
    "CREATE INDEX reviews_by_opening ON countersign.reviews (opened_at, id)",
    """
    CREATE INDEX reviews_due ON countersign.reviews (least(remind_at, escalate_at, expire_at))
    WHERE status = 'open'
    """,
    # What was shown, byte for byte, with its salt: digest = SHA-256(salt || view).
    """
    CREATE TABLE countersign.views (
        review_id text COLLATE "C" NOT NULL,
        number integer NOT NULL,
        digest bytea NOT NULL,
        salt bytea NOT NULL,
        view bytea NOT NULL,
        CONSTRAINT views_pkey PRIMARY KEY (review_id, number),
        CONSTRAINT views_digest_key UNIQUE (digest),
        CONSTRAINT views_review_id_fkey FOREIGN KEY (review_id) REFERENCES countersign.reviews (id)
    )
    """,
    # A statement that waits for its credential; used once.
    """
    CREATE TABLE countersign.signings (
        id text NOT NULL,
        review_id text COLLATE "C" NOT NULL,
        session_id text NOT NULL,
        nonce bytea NOT NULL,
        statement bytea NOT NULL,
        content bytea NOT NULL,
        issued_at timestamptz NOT NULL,
        expires_at timestamptz NOT NULL,
        used_at timestamptz,
        CONSTRAINT signings_pkey PRIMARY KEY (id),
        CONSTRAINT signings_nonce_key UNIQUE (nonce),
        CONSTRAINT signings_review_id_fkey FOREIGN KEY (review_id) REFERENCES countersign.reviews (id),
        CONSTRAINT signings_session_id_fkey FOREIGN KEY (session_id) REFERENCES countersign.sessions (id)
    )
    """,
    # What a request with an Idempotency-Key was answered, so that a retry gets the same.
    """
    CREATE TABLE countersign.answers (
        principal text NOT NULL,
        key text NOT NULL,
        request bytea NOT NULL,
        status integer,
        headers bytea,
        body bytea,
        made_at timestamptz NOT NULL,
        CONSTRAINT answers_pkey PRIMARY KEY (principal, key)
    )
    """,
    "CREATE INDEX answers_by_age ON countersign.answers (made_at)",
)
_OF_THE_SERVICE = (
    "users", "credentials", "grants", "sessions", "api_keys", "workflows", "cases", "reviews", "views", "signings",
    "answers",
)  # fmt: skip

# An entry of the person who did it begins with these bytes in every body. Said as text without reading JSON, which a
# forged body could make fail.
_ACTOR = """substring(encode(substring(body from 1 for 600), 'escape') from '^\\{"actor":\\{"id":"([^"]*)"')"""
_ENTRIES_ARE_FOUND = (
    "CREATE INDEX entries_by_time ON audit.entries (occurred_at, trail, seq)",
    rf"""
    CREATE INDEX entries_by_person ON audit.entries (({_ACTOR}), occurred_at, trail, seq)
    WHERE kind !~ '^(checkpoint|writes|interrupt)\.'
    """,
)

# A worker runs graph code, so its role can add nothing but what a graph does, and nothing to the trails of no case.
# What the graph's key may not sign is refused by every reader anyhow; here it cannot even be written.
_OF_GRAPHS = "kind ~ '^(checkpoint|writes|run|interrupt|state)\\.'"
_OF_CASES = "left(trail, 1) <> '@'"
_POLICIES = (
    "CREATE POLICY all_rows ON audit.{table} TO countersign_app, countersign_auditor USING (true) WITH CHECK (true)",
    "CREATE POLICY worker_reads ON audit.{table} FOR SELECT TO countersign_worker USING (trail <> '@system')",
)


def upgrade() -> None:
    for role in ("countersign_worker", "countersign_service"):
        op.execute(
            f"""
            DO $$ BEGIN
                IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN CREATE ROLE {role} NOLOGIN; END IF;
            END $$
            """
        )
        op.execute(f"GRANT USAGE ON SCHEMA audit, countersign TO {role}")
    # Whoever made the roles beforehand may have made one a member of the other, and only they could do it now.
    op.execute(
        """
        DO $$ BEGIN
            IF NOT pg_has_role('countersign_service', 'countersign_app', 'member') THEN
                GRANT countersign_app TO countersign_service;
            END IF;
        END $$
        """
    )
    for statement in _TABLES:
        op.execute(statement)
    names = ", ".join(f"countersign.{name}" for name in _OF_THE_SERVICE)
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {names} TO countersign_service")
    for statement in _ENTRIES_ARE_FOUND:
        op.execute(statement)
    for table in ("entries", "payloads"):
        op.execute(f"ALTER TABLE audit.{table} ENABLE ROW LEVEL SECURITY")
        for policy in _POLICIES:
            op.execute(policy.format(table=table))
    op.execute(
        f"CREATE POLICY worker_adds ON audit.entries FOR INSERT TO countersign_worker "
        f"WITH CHECK ({_OF_GRAPHS} AND {_OF_CASES})"
    )
    op.execute(f"CREATE POLICY worker_adds ON audit.payloads FOR INSERT TO countersign_worker WITH CHECK ({_OF_CASES})")
    op.execute("GRANT SELECT, INSERT ON audit.entries, audit.payloads TO countersign_worker")
    op.execute("GRANT SELECT ON countersign.alembic_version TO countersign_worker")
    op.execute("GRANT INSERT ON countersign.unsealed TO countersign_worker")
