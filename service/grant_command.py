"""The commands `countersign grant ...`: who has which role, for which workflow, until when."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import click

from countersign.audit.home import os_user

from .guard import guarded, url_option
from .people_command import MOMENT, every, in_utc, moment_text, role_option, table, with_people, workflow_option

if TYPE_CHECKING:
    from .identity.people import People


@click.group("grant")
def grant_group() -> None:
    """Say who has which role. Each change is an entry of @system, by the operating system's user."""


@grant_group.command("give")
@click.argument("name")
@role_option
@workflow_option
@click.option("--from", "begins", type=MOMENT, metavar="TIME", help="In UTC, such as 2027-01-31; without: now.")
@click.option("--until", "ends", type=MOMENT, metavar="TIME", help="In UTC; without: until it is revoked.")
@url_option
@guarded
def give_command(
    name: str, role: str, workflow: str, begins: datetime | None, ends: datetime | None, url: str | None
) -> None:
    """Give the user NAME a role for a workflow."""

    async def act(people: People) -> str:
        user = await people.find_user(os_user(), name)
        grant = await people.give_grant(os_user(), user.id, role, workflow, in_utc(begins), in_utc(ends))
        return grant.id

    click.echo(f"Gave grant {with_people(url, act)}.")


@grant_group.command("revoke")
@click.argument("grant")
@url_option
@guarded
def revoke_command(grant: str, url: str | None) -> None:
    """Take back the grant with the id GRANT, at once."""
    with_people(url, lambda people: people.revoke_grant(os_user(), grant))
    click.echo(f"Revoked grant {grant}.")


@grant_group.command("list")
@click.argument("name", required=False)
@url_option
@guarded
def list_command(name: str | None, url: str | None) -> None:
    """List the grants of NAME, or all."""

    async def read(people: People) -> list[list[str]]:
        user = (await people.find_user(os_user(), name)).id if name is not None else None
        grants = await every(lambda after, limit: people.list_grants(os_user(), user, after, limit))
        return [
            [
                grant.id, grant.user, grant.role, grant.workflow, moment_text(grant.valid_from),
                moment_text(grant.valid_until), moment_text(grant.revoked_at),
            ]
            for grant in grants
        ]  # fmt: skip

    heading = ["id", "user", "role", "workflow", "from", "until", "revoked"]
    for line in table([heading, *with_people(url, read)]):
        click.echo(line)
