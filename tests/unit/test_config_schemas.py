"""A JSON schema that is taken can be used: it refers to nothing outside, and looking at a value comes to an end."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from countersign.audit.canonical import canonical
from countersign.audit.errors import ConfigurationError
from countersign.service.config.reading import Item, Source
from countersign.service.config.schemas import schema

NAMES = ("a", "b", "c")
REFERENCES = st.sampled_from(
    [
        "#",
        "#/$defs/a",
        "#/$defs/b",
        "#/$defs/c",
        "#/properties/a",
        "#/$defs",
        "#/allOf/0",
        "#a",
        "x.json",
        "#/$defs/a/not",
    ]
).map(lambda target: {"$ref": target})
LEAVES: st.SearchStrategy[Any] = REFERENCES | st.sampled_from([{}, {"type": "integer"}, {"const": "$ref"}, True, False])


def _inner(part: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    parts = st.lists(part, min_size=1, max_size=2)
    named = st.dictionaries(st.sampled_from([*NAMES, "$ref", "$id"]), part, max_size=2)
    return st.fixed_dictionaries(
        {},
        optional={
            "allOf": parts, "anyOf": parts, "oneOf": parts, "not": part, "if": part, "then": part, "else": part,
            "properties": named, "patternProperties": named, "dependentSchemas": named, "additionalProperties": part,
            "propertyNames": part, "unevaluatedProperties": part, "items": part, "$ref": st.just("#/$defs/a"),
        },
    )  # fmt: skip


PARTS = st.recursive(LEAVES, _inner, max_leaves=6)
SCHEMAS = st.fixed_dictionaries(
    {"type": st.just("object"), "$defs": st.fixed_dictionaries(dict.fromkeys(NAMES, PARTS))},
    optional={"properties": st.dictionaries(st.sampled_from(NAMES), PARTS), "allOf": st.lists(PARTS, min_size=1)},
)
VALUES = st.recursive(
    st.integers() | st.sampled_from(["", "a"]),
    lambda inner: st.dictionaries(st.sampled_from(NAMES), inner, max_size=3) | st.lists(inner, max_size=2),
    max_leaves=6,
)


@given(SCHEMAS, st.dictionaries(st.sampled_from(NAMES), VALUES))
@example({"type": "object", "properties": {"$ref": {"type": "integer"}}}, {"$ref": "x"})
@example({"type": "object", "properties": {"$id": {}}, "$defs": {"$ref": {"$ref": "#"}}}, {})
@example({"type": "object", "properties": {"a": {"$ref": "#"}}}, {"a": {"a": {}}})
def test_a_schema_that_is_taken_judges_any_value(document: dict[str, Any], value: dict[str, Any]) -> None:
    try:
        found = schema(Item(Source("countersign.toml", {}), (), document))
    except ConfigurationError as error:
        assert error.remedy  # noqa: PT017 - either outcome is fine, without a remedy neither
        return
    assert canonical(found)
    assert isinstance(Draft202012Validator(found).is_valid(value), bool)
