"""Views of another state than the case's: what signers were shown, and what entries say that it was."""

from __future__ import annotations

from countersign.audit.canonical import Json
from unit.breaking import APPROVED, Make, breaks, carried_out
from unit.governing import World, waiting

NOT_SHOWN = "(not-viewed): they were not shown the view with that digest"


def shown(world: World, **state: Json) -> World:
    """Let somebody sign who was shown another state."""
    digest = world.look("u-pha", view=world.view("r-1") | {"state": dict(world.state) | state})
    world.sign("u-pha", looks=False, shown=digest)
    return world


def corrected() -> World:
    """Return a case of which an edit has changed the dose from 5 to 3, and that is open for review again."""
    world = waiting()
    mandate = world.act("case.corrected", "u-pha2", payload={"values": {"dose": 3}, "reason": "misread"})
    world.update(mandate, {"dose": 3})
    world.pause("review")
    world.reopen()
    return world


@breaks("a view that shows what was before an edit", "shows another value of 'dose' than entry 12 says it had")
def shown_what_was_before() -> World:
    return carried_out(shown(corrected(), dose=5), signed=[15], outcome="approved", write={"update": APPROVED})


@breaks("a view that shows what was before an edit, and a signature on it", NOT_SHOWN)
def signed_what_was_before() -> World:
    return shown(corrected(), dose=5)


@breaks("a view that leaves out what an edit wrote", "shows another value of 'dose' than entry 12 says it had")
def left_out() -> World:
    world = corrected()
    world.look("u-pha", view=world.view("r-1") | {"state": {}})
    return world


@breaks("a view that shows True where an edit wrote 1", "shows another value of 'urgent' than entry 12 says it had")
def another_type() -> World:
    world = waiting()
    mandate = world.act("case.corrected", "u-pha2", payload={"values": {"urgent": 1}, "reason": "misread"})
    world.update(mandate, {"urgent": 1})
    world.pause("review")
    world.reopen()
    return shown(world, urgent=True)


def decided_on(**state: Json) -> Make:
    """Somebody signed what they were shown, and the edit that follows says what the state was."""

    def make() -> World:
        world = waiting()
        world.state |= {"notes": "", "dose": 5}
        return carried_out(shown(world, **state))

    return make


breaks("a field that was empty, and is shown full", "says that 'notes' had another value before than entry 10 showed")(
    decided_on(notes="weighed twice")
)
breaks("a decision that is shown before it was made", "says that 'decision' had another value before than entry 10")(
    decided_on(decision="approved")
)


@breaks("a view without a state", "shows a view without a state")
def no_state() -> World:
    world = waiting()
    world.look("u-pha", view=world.view("r-1") | {"state": None})
    return world
