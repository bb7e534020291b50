"""Alembic's environment: runs the migrations of the schema `audit` on the connection that `migrate` hands over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic import context

from countersign.audit.tables import STATE_SCHEMA, metadata

if TYPE_CHECKING:
    from sqlalchemy import Connection


def run(connection: Connection | None) -> None:
    context.configure(
        connection=connection,
        dialect_name="postgresql",
        target_metadata=metadata,
        version_table="alembic_version",
        version_table_schema=STATE_SCHEMA,
        literal_binds=connection is None,
        # The script is for psql, which does not want the driver's doubled percent signs.
        dialect_opts={"paramstyle": "named"} if connection is None else {},
        include_schemas=True,
    )
    with context.begin_transaction():
        context.run_migrations()


run(context.config.attributes.get("connection"))
