"""The log: which entry is which leaf, the signed heads, and the list of what is yet to be sealed.

There is no downgrade, and no log for what was there before it: nobody kept its heads.
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"

_EVIDENCE = ("leaves", "heads")


def upgrade() -> None:
    op.execute(
        """
        DO $$ BEGIN
            IF EXISTS (SELECT FROM audit.entries) THEN
                RAISE EXCEPTION 'the entries in this database were made before there was a log'
                    USING HINT = 'Use a new database: what was never sealed cannot be shown to be whole.';
            END IF;
        END $$
        """
    )
    op.execute(
        """
        CREATE TABLE audit.leaves (
            trail text COLLATE "C" NOT NULL,
            seq bigint NOT NULL,
            leaf_index bigint NOT NULL,
            leaf_hash bytea NOT NULL,
            CONSTRAINT leaves_pkey PRIMARY KEY (trail, seq),
            CONSTRAINT leaves_leaf_index_key UNIQUE (leaf_index)
        )
        """
    )
    op.execute(
        """
        CREATE TABLE audit.heads (
            number bigint NOT NULL,
            tree_size bigint NOT NULL,
            note bytea NOT NULL,
            CONSTRAINT heads_pkey PRIMARY KEY (number),
            CONSTRAINT heads_tree_size_key UNIQUE (tree_size)
        )
        """
    )
    # Not evidence: a row says that an entry was committed, whenever that was. The sealer takes it out when the entry
    # is a leaf, so what it looks at grows with what is new. A row that somebody removes delays an entry until the next
    # one of its trail, or until a sealer starts and compares entries with leaves.
    op.execute('CREATE TABLE countersign.unsealed (trail text COLLATE "C" NOT NULL, seq bigint NOT NULL)')
    op.execute(
        """
        CREATE FUNCTION countersign.await_sealing() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO countersign.unsealed (trail, seq) VALUES (NEW.trail, NEW.seq);
            RETURN NULL;
        END
        $$
        """
    )
    op.execute(
        """
        CREATE TRIGGER entries_await_sealing AFTER INSERT ON audit.entries
        FOR EACH ROW EXECUTE FUNCTION countersign.await_sealing()
        """
    )
    for table in _EVIDENCE:
        op.execute(
            f"""
            CREATE TRIGGER {table}_are_evidence BEFORE UPDATE OR DELETE OR TRUNCATE ON audit.{table}
            FOR EACH STATEMENT EXECUTE FUNCTION countersign.refuse_change()
            """
        )
    op.execute("GRANT SELECT ON audit.leaves, audit.heads TO countersign_app, countersign_auditor")
    op.execute("GRANT INSERT ON audit.leaves, audit.heads TO countersign_app")
    op.execute("GRANT SELECT, INSERT, DELETE ON countersign.unsealed TO countersign_app")
    op.execute("GRANT SELECT ON countersign.unsealed TO countersign_auditor")
