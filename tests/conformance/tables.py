"""Write the generated parts of the conformance statement.

`python -m tests.conformance.tables` puts every table between its marks in `docs/conformance.md`. A
test fails where the page holds another one. Tables come from the code's own values, from result
objects that the code builds, and from the answers of a node that runs while they are made.
"""

import logging
import re
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path

from dicom_io import scu
from tests.conformance import config, content, examples, network, objects, requests, statuses

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"
_PART = re.compile(r"<!-- generated: ([a-z -]+) -->\n.*?\n?<!-- end -->", re.DOTALL)


def tables(made: examples.Objects, folder: Path) -> Mapping[str, str]:
    """Return every generated part of the page by its name; `folder` takes what is made for it."""
    return {**_of_network(made, folder), **_of_objects(made, folder)}


def _of_network(made: examples.Objects, folder: Path) -> dict[str, str]:
    sent = requests.store_proposal(made, folder)
    echoed = requests.proposal(scu.echo)
    committing = requests.commitment_proposals()
    with network.node(folder / "node") as (port, _):
        contexts = network.context_table(port)
        identity = network.identity_table(port, [sent, echoed, *committing])
    return {
        "minute": requests.minute_table(sent),
        "sop classes": network.sop_class_table(),
        "transfer syntaxes": network.syntax_table(),
        "contexts": contexts,
        "identity": identity,
        "rejections": network.rejection_table(folder / "rejections"),
        "limits": network.limit_table(),
        "tls": network.tls_table(folder / "tls"),
        "answers": statuses.answer_table(folder / "answers"),
        "proposed": requests.contexts_table([echoed, sent, *committing]),
        "received statuses": f"{statuses.received_table()}\n\n{statuses.other_statuses()}",
        "sending limits": requests.sending_sentence(),
        "retries": statuses.retry_sentence(),
        "commitment limits": statuses.commitment_sentences(),
        "settings": config.setting_table(),
    }


def _of_objects(made: examples.Objects, folder: Path) -> dict[str, str]:
    came = {kind: objects.sources(made, kind) for kind in objects.SHORT}
    attributes = {
        f"{kind} attributes": objects.attribute_table(made, kind, came) for kind in objects.SHORT
    }
    return {
        "common attributes": objects.common_table(made, came),
        **attributes,
        "geometries": content.geometry_table(folder / "geometries"),
        "content tree": content.content_table(made.examples["sr"]),
        "codes": content.code_table(made, private=False),
        "private codes": content.code_table(made, private=True),
    }


def filled(page: str, parts: Mapping[str, str]) -> str:
    """Return the page with its generated parts replaced."""
    return _PART.sub(lambda match: part(match[1], parts[match[1]]), page)


def part(name: str, text: str) -> str:
    """Return a generated part between its marks."""
    return f"<!-- generated: {name} -->\n\n{text}\n\n<!-- end -->"


def names(page: str) -> list[str]:
    """Return the names of the generated parts of a page."""
    return [match[1] for match in _PART.finditer(page)]


def main() -> None:
    """Rewrite the page."""
    logging.disable(logging.CRITICAL)  # the node says what it refuses, and it refuses on purpose
    warnings.simplefilter("ignore", UserWarning)  # pydicom, of values that sources may have
    with tempfile.TemporaryDirectory() as folder:
        made = examples.make(Path(folder) / "examples")
        page = filled(PAGE.read_text(encoding="utf-8"), tables(made, Path(folder)))
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
