"""Pages of the documentation that are generated must be those that the code generates."""

import re
from pathlib import Path

from daemon import schema
from daemon.lifecycle import ANALYSIS, DELIVERY, STUDY, diagram

DOCS = Path(__file__).parents[2] / "docs"


def test_state_diagrams_are_those_of_the_tables() -> None:
    page = (DOCS / "states.md").read_text(encoding="utf-8")
    for machine in (diagram(STUDY), diagram(ANALYSIS), diagram(DELIVERY)):
        assert f"```mermaid\n{machine}\n```" in page


def test_every_decision_has_a_status() -> None:
    records = sorted((DOCS / "decisions").glob("*.md"))
    assert records
    for record in records:
        assert "\nStatus: " in record.read_text(encoding="utf-8"), record.name


def test_the_threat_model_names_tests_that_exist() -> None:
    page = (DOCS / "threat-model.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z]+/test_[a-z0-9_]+\.py)`", page))
    assert len(named) > 20
    assert [name for name in sorted(named) if not (DOCS.parent / "tests" / name).is_file()] == []


def test_the_page_about_the_database_names_every_table_and_index() -> None:
    page = (DOCS / "database.md").read_text(encoding="utf-8")
    tables = {**schema.metadata.tables}
    del tables["node"]
    names = [*tables, *(str(i.name) for table in tables.values() for i in table.indexes)]
    assert [name for name in names if name not in page] == []
