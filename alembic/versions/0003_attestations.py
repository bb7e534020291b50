"""What others say of the log's heads: the cosignatures of witnesses, and time tokens.

Both come later than the head, or not at all, so they stand beside it. There is no downgrade: they are evidence.
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"

_EVIDENCE = ("cosignatures", "tokens")


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE audit.cosignatures (
            tree_size bigint NOT NULL,
            name text NOT NULL,
            key_id bytea NOT NULL,
            line bytea NOT NULL,
            CONSTRAINT cosignatures_pkey PRIMARY KEY (tree_size, name, key_id)
        )
        """
    )
    op.execute(
        """
        CREATE TABLE audit.tokens (
            tree_size bigint NOT NULL,
            token bytea NOT NULL,
            CONSTRAINT tokens_pkey PRIMARY KEY (tree_size)
        )
        """
    )
    for table in _EVIDENCE:
        op.execute(
            f"""
            CREATE TRIGGER {table}_are_evidence BEFORE UPDATE OR DELETE OR TRUNCATE ON audit.{table}
            FOR EACH STATEMENT EXECUTE FUNCTION countersign.refuse_change()
            """
        )
    op.execute("GRANT SELECT ON audit.cosignatures, audit.tokens TO countersign_app, countersign_auditor")
    op.execute("GRANT INSERT ON audit.cosignatures, audit.tokens TO countersign_app")
