"""The list of what is yet to be sealed keeps the order in which entries were written.

A number is drawn when an entry is inserted, and that is behind the locks that its writer holds until the commit. Of two
entries whose writers wait for each other the first to commit therefore has the lower number: two of one trail, or one
that ends somebody's right in @system and one that rests on that right. The sealer goes by it, so leaves are in an order
that no clock of a signer gives. Entries that do not wait for each other may be numbered otherwise than they commit.

There is no downgrade: the order of what waits would be lost.
"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.execute("ALTER TABLE countersign.unsealed ADD COLUMN number bigint GENERATED ALWAYS AS IDENTITY")
    op.execute("CREATE UNIQUE INDEX unsealed_number ON countersign.unsealed (number)")
