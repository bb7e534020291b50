"""Deserialization that rebuilds only allowed types: never pickle, never a type that only the database names."""

from __future__ import annotations

from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from .errors import ConfigurationError


def strict_serializer(serde: SerializerProtocol | None) -> SerializerProtocol:
    """Return a serializer that is strict: LangGraph's own with its built-in safe types, or `serde` if it is strict too.

    Raises ConfigurationError for one that falls back to pickle, or that imports whatever the stored bytes name.
    """
    if serde is None:
        return JsonPlusSerializer(allowed_msgpack_modules=None)
    inner = serde.serde if isinstance(serde, EncryptedSerializer) else serde
    if type(inner) is not JsonPlusSerializer or inner._custom_unpack_ext_hook:  # noqa: SLF001 - no public way
        raise ConfigurationError(
            f"The serializer {type(serde).__module__}.{type(serde).__qualname__} cannot be shown to be strict.",
            remedy="Use JsonPlusSerializer(allowed_msgpack_modules=[...]), plain or inside an EncryptedSerializer.",
        )
    if inner.pickle_fallback:
        raise ConfigurationError(
            "The serializer falls back to pickle, which runs code from the database.",
            remedy="Use JsonPlusSerializer(allowed_msgpack_modules=[...]) without pickle_fallback.",
        )
    if inner._allowed_msgpack_modules is True or inner._allowed_json_modules is True:  # noqa: SLF001 - no public way
        raise ConfigurationError(
            "The serializer rebuilds any type that the stored bytes name, and so runs code from the database.",
            remedy="Name the types of your state: JsonPlusSerializer(allowed_msgpack_modules=[('module', 'Class')]).",
        )
    return serde
