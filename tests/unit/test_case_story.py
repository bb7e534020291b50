"""What is kept of a run that failed: what the graph said, and not what LangGraph puts behind it."""

from __future__ import annotations

import pytest

from countersign.service.cases.story import without_advert

PAGE = "https://docs.langchain.com/oss/python/langgraph/errors/GRAPH_RECURSION_LIMIT"


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("too much", "too much"),
        (f"Limit of 25 reached.\nFor troubleshooting, visit: {PAGE}", "Limit of 25 reached."),
        (f"Expected a dict.\n\nFor troubleshooting, visit: {PAGE} ", "Expected a dict."),
        ("For troubleshooting, visit the ward.", "For troubleshooting, visit the ward."),
    ],
)
def test_the_page_that_langgraph_points_to_is_left_away(said: str, kept: str) -> None:
    assert without_advert(said) == kept
