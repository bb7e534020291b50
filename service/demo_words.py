"""How the demonstration speaks."""

from __future__ import annotations

import click


def say(text: str) -> None:
    """Begin a part of the story."""
    click.echo("")
    click.secho(text, bold=True)


def note(text: str) -> None:
    """Tell what happens in it."""
    click.echo(f"  {text}")


def typed(command: str) -> None:
    """Show what somebody types."""
    click.echo(f"  $ {command}")
