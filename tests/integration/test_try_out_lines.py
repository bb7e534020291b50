"""What a try-out makes and prints for a configuration, without a server."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from countersign.service.api.try_out import people_of, what_to_try
from countersign.service.config.load import load_config
from countersign.service.identity.records import GrantWanted
from serving import sample


def test_where_signers_may_edit_somebody_else_can_sign_what_became_of_it(tmp_path: Path) -> None:
    people = people_of(load_config(sample(tmp_path)))
    for name in ("pharmacist", "pharmacist-2"):
        assert GrantWanted("pharmacist", "medication-order") in people[name]


def test_of_a_graph_that_is_not_the_samples_it_says_what_to_fill_in(tmp_path: Path) -> None:
    config = load_config(sample(tmp_path))
    sample_of = "\n".join(what_to_try(config, "http://127.0.0.1:1"))
    assert "First put" not in sample_of
    assert 'takes "values"' not in sample_of
    asking = config.workflows["chemotherapy"]
    own = replace(config, workflows={"own": replace(asking, name="own")})
    said_of_own = "\n".join(what_to_try(own, "http://127.0.0.1:1"))
    assert "First put" in said_of_own
    assert 'takes "values"' in said_of_own
