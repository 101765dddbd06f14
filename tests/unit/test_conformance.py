"""The conformance statement says what the code does, and the objects it describes are whole."""

import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import pytest
from highdicom._standard_utils import check_required_attributes, get_iod_module_map
from pydantic import BaseModel

from daemon.config import Config
from dicom_io.reception import Limits
from tests.conformance import content, examples, objects
from tests.conformance.cases import COPIED_SCHEME
from tests.conformance.examples import Objects
from tests.conformance.network import LIMIT_WORDS
from tests.conformance.tables import PAGE, filled, names, part, tables

IODS = {
    "seg": "segmentation",
    "sr": "comprehensive-sr",
    "pr": "color-softcopy-presentation-state",
    "grey pr": "grayscale-softcopy-presentation-state",
    "sc": "secondary-capture-image",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("conformance")


@pytest.fixture(scope="module")
def made(folder: Path) -> Objects:
    return examples.make(folder / "examples")


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def generated(made: Objects, folder: Path) -> Mapping[str, str]:
    return tables(made, folder)


def test_tables_are_those_that_the_code_generates(page: str, generated: Mapping[str, str]) -> None:
    """Red: run `python -m tests.conformance.tables` and read what has changed."""
    assert sorted(names(page)) == sorted(generated)
    for name, text in generated.items():
        assert part(name, text) in page, name
    assert filled(page, generated) == page


def test_every_kind_of_object_has_examples(made: Objects) -> None:
    assert set(made.examples) == set(made.pairs) == set(objects.SHORT) == set(IODS)


# Tables that ask for the attributes of all alternatives at once: of every functional group in both
# places, and of every value type of a content item.
ALTERNATIVES = ("segmentation-multi-frame-functional-groups", "sr-document-content")


@pytest.mark.parametrize("kind", IODS)
def test_objects_have_what_the_mandatory_modules_require(made: Objects, kind: str) -> None:
    """Every attribute of type 1 or 2, at every depth, by the standard's own tables."""
    mandatory = [m["key"] for m in get_iod_module_map()[IODS[kind]] if m["usage"] == "M"]
    modules = [key for key in mandatory if key not in ALTERNATIVES]
    assert len(modules) > 5
    for ds in made.examples[kind]:
        for module in modules:
            check_required_attributes(ds, module)


def test_no_private_attribute_is_written(made: Objects) -> None:
    for kind, sets in made.examples.items():
        for ds in sets:
            private = [path for path, element in objects.elements(ds) if element.tag.is_private]
            assert private == [], kind


def test_codes_written_are_the_codes_declared(made: Objects) -> None:
    """A code that is never written misleads; one that is written and not declared is not listed."""
    declared = {(code.scheme, code.value) for code in content.declared_codes()}
    written = {key for key in content.written_codes(made) if key[0] != COPIED_SCHEME}
    assert written == declared


def test_both_report_classes_have_the_same_content(made: Objects) -> None:
    by_class: dict[str, list[str]] = {}
    for ds in made.examples["sr"]:
        by_class.setdefault(str(ds.SOPClassUID), []).append(content.content_table([ds]))
    plain, three_d = by_class.values()
    assert len(three_d) == 1
    assert three_d[0] in plain


def test_every_remark_is_on_an_attribute_that_is_written(made: Objects) -> None:
    keys = {
        key
        for kind, sets in made.examples.items()
        for path in objects.survey(sets)
        for key in objects.remark_keys(kind, path)
    }
    assert set(objects.REMARKS) - keys == set()


def test_every_limit_has_its_words() -> None:
    assert set(LIMIT_WORDS) == {item.name for item in fields(Limits)}


def test_settings_that_the_page_names_exist(page: str) -> None:
    named = set(re.findall(r"`([a-z]+\.[a-z_]+)(?: = [^`]*)?`", page))
    known = {f"{table}.{key}" for table in Config.model_fields for key in _keys(table)}
    assert len(named) > 20
    assert named - known == set()


def _keys(table: str) -> set[str]:
    model = Config.model_fields[table].annotation
    inner = getattr(model, "__args__", (model,))[0]
    return set(inner.model_fields) if issubclass(inner, BaseModel) else set()


def test_links_of_the_page_lead_somewhere(page: str) -> None:
    headings = {
        re.sub(r"[^a-z0-9 -]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in page.splitlines()
        if line.startswith("#")
    }
    targets = re.findall(r"\]\(([^)]+)\)", page)
    inside = {target[1:] for target in targets if target.startswith("#")}
    outside = [target for target in targets if not target.startswith("#")]
    assert inside - headings == set()
    assert [target for target in outside if not (PAGE.parent / target).exists()] == []
