"""The commands `countersign user ...`: who may sign in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from countersign.audit.errors import ConfigurationError
from countersign.audit.home import os_user

from .guard import guarded, url_option
from .people_command import every, file_option, given_password, prompt_option, reason_option, table, with_people

if TYPE_CHECKING:
    from .identity.people import People


@click.group("user")
def user_group() -> None:
    """Say who may sign in. Each change is an entry of @system, by the operating system's user."""


@user_group.command("add")
@click.argument("name")
@click.option("--printed-name", required=True, metavar="TEXT", help="As it stands on signatures.")
@click.option("--role", "roles", multiple=True, metavar="R", help="A role to give, each with its --workflow.")
@click.option("--workflow", "workflows", multiple=True, metavar="W", help="For which workflow; * for all.")
@prompt_option
@file_option
@url_option
@guarded
def add_command(
    name: str,
    printed_name: str,
    roles: tuple[str, ...],
    workflows: tuple[str, ...],
    prompt: bool,  # noqa: FBT001 - click passes flags so
    file: Path | None,
    url: str | None,
) -> None:
    """Let NAME sign in, with a first password that they have to replace before they do anything else.

    Without --prompt and --password-file a password is made and printed, once. Needs the deployment key.

    Exit code 0: done, 2: could not run.
    """
    if len(roles) != len(workflows):
        raise ConfigurationError("Each --role needs its --workflow.", remedy="Write --workflow '*' for all workflows.")
    password = given_password(file, prompt=prompt)

    async def add(people: People) -> tuple[str, str]:
        from .identity.records import GrantWanted  # noqa: PLC0415 - as where it is used

        grants = [GrantWanted(role, workflow) for role, workflow in zip(roles, workflows, strict=True)]
        user, first = await people.create_user(os_user(), name, printed_name, password, grants)
        return user.id, first

    user, first = with_people(url, add)
    click.echo(f"Added user {user}.")
    if password is None:
        click.echo(f"First password, shown this once: {first}")
    click.echo(f"They set their own with: countersign user set-password {name}")


@user_group.command("list")
@url_option
@guarded
def list_command(url: str | None) -> None:
    """List all users: id, username, active or not, whose choice the password is, printed name."""

    async def read(people: People) -> list[list[str]]:
        users = await every(lambda after, limit: people.list_users(os_user(), after, limit))
        return [
            [user.id, user.username, "active" if user.active else "inactive", user.password, user.printed_name]
            for user in users
        ]

    for line in table([["id", "username", "state", "password", "printed name"], *with_people(url, read)]):
        click.echo(line)


@user_group.command("deactivate")
@click.argument("name")
@reason_option
@url_option
@guarded
def deactivate_command(name: str, reason: str | None, url: str | None) -> None:
    """Let nobody sign in or sign as NAME any more. Sessions are closed at once; nothing is deleted."""

    async def act(people: People) -> str:
        user = await people.find_user(os_user(), name)
        await people.deactivate(os_user(), user.id, reason)
        return user.id

    click.echo(f"User {with_people(url, act)} is not active any more.")


@user_group.command("reactivate")
@click.argument("name")
@reason_option
@url_option
@guarded
def reactivate_command(name: str, reason: str | None, url: str | None) -> None:
    """Let NAME sign in again, with the password and the grants they have."""

    async def act(people: People) -> str:
        user = await people.find_user(os_user(), name)
        await people.reactivate(os_user(), user.id, reason)
        return user.id

    click.echo(f"User {with_people(url, act)} is active again.")


@user_group.command("reset-password")
@click.argument("name")
@prompt_option
@file_option
@url_option
@guarded
def reset_command(name: str, prompt: bool, file: Path | None, url: str | None) -> None:  # noqa: FBT001
    """Give NAME a new first password, which they have to replace. Their sessions are closed."""
    password = given_password(file, prompt=prompt)

    async def act(people: People) -> tuple[str, str]:
        user = await people.find_user(os_user(), name)
        return user.id, await people.reset_password(os_user(), user.id, password)

    user, first = with_people(url, act)
    click.echo(f"User {user} has a new first password.")
    if password is None:
        click.echo(f"First password, shown this once: {first}")


@user_group.command("set-password")
@click.argument("name")
@click.option("--old-file", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="FILE")
@click.option("--new-file", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="FILE")
@url_option
@guarded
def set_command(name: str, old_file: Path | None, new_file: Path | None, url: str | None) -> None:
    """Set one's own password as NAME, who has to know the old one. Both are asked for, or stand in files."""
    old = given_password(old_file, prompt=old_file is None, what="Old password", again=False) or ""
    new = given_password(new_file, prompt=new_file is None, what="New password") or ""
    with_people(url, lambda people: people.set_password(name, old, new))
    click.echo("The password is set. Sign in with it.")
