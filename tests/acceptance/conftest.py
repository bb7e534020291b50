"""The examples are imported as `examples.<name>`: the repository's root must be on the path, however pytest began."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Database
from countersign.audit import AuditedPostgresSaver

ROOT = str(Path(__file__).parents[2])
if ROOT not in sys.path:
    sys.path.append(ROOT)  # last, so that no folder of ours hides an installed package


@pytest.fixture
def sync_saver(database: Database) -> Iterator[AuditedPostgresSaver]:
    with AuditedPostgresSaver.from_conn_string(database.app_url, home=database.home) as saver:
        yield saver
