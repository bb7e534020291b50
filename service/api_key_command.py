"""The commands `countersign api-key ...`: keys for programs, which never sign."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from countersign.audit.home import os_user

from .guard import guarded, url_option
from .people_command import every, moment_text, table, with_people

if TYPE_CHECKING:
    from .identity.people import People


@click.group("api-key")
def api_key_group() -> None:
    """Hand out keys for programs. Each change is an entry of @system, by the operating system's user."""


@api_key_group.command("create")
@click.argument("name")
@click.option("--scope", "scopes", multiple=True, required=True, metavar="S", help="Such as cases:start. Repeatable.")
@click.option("--role", "roles", multiple=True, metavar="R", help="In which role it starts or attests. Repeatable.")
@click.option("--workflow", default="*", show_default=True, metavar="W", help="For which workflow.")
@click.option("--days", type=click.IntRange(1, 366), default=90, show_default=True, help="How long it counts.")
@url_option
@guarded
def create_command(
    name: str, scopes: tuple[str, ...], roles: tuple[str, ...], workflow: str, days: int, url: str | None
) -> None:
    """Make a key called NAME and print it, once. Only its digest is kept."""
    expires_at = datetime.now(UTC) + timedelta(days=days)

    async def act(people: People) -> tuple[str, str]:
        token, key = await people.create_api_key(os_user(), name, scopes, expires_at, roles, workflow)
        return key.id, token

    key, token = with_people(url, act)
    click.echo(f"Made API key {key}, which counts until {moment_text(expires_at)}. Shown this once:")
    click.echo(token)


@api_key_group.command("revoke")
@click.argument("key")
@url_option
@guarded
def revoke_command(key: str, url: str | None) -> None:
    """Let the key with the id KEY count no longer, at once."""
    with_people(url, lambda people: people.revoke_api_key(os_user(), key))
    click.echo(f"Revoked API key {key}.")


@api_key_group.command("list")
@url_option
@guarded
def list_command(url: str | None) -> None:
    """List all API keys, without what opens anything."""

    async def read(people: People) -> list[list[str]]:
        keys = await every(lambda after, limit: people.list_api_keys(os_user(), after, limit))
        return [
            [
                key.id, key.name, " ".join(key.scopes), " ".join(key.roles) or "-", key.workflow, key.made_by,
                moment_text(key.expires_at), moment_text(key.revoked_at),
            ]
            for key in keys
        ]  # fmt: skip

    heading = ["id", "name", "scopes", "roles", "workflow", "made by", "until", "revoked"]
    for line in table([heading, *with_people(url, read)]):
        click.echo(line)
