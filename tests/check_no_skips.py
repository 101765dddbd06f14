"""Fail where an integration or acceptance test was skipped, from pytest's JUnit report.

On a developer's machine such a test is skipped where its peer or its data is missing; in
continuous integration nothing may be missing, so a skip there means that the set-up is broken.
"""

import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

SUITES = ("tests.integration", "tests.acceptance")


def suite_of(case: ET.Element) -> str | None:
    """Name the suite of a test case; a module skipped as a whole has its name in ``name``."""
    path = case.get("classname") or case.get("name") or ""
    path = path.replace("/", ".")
    return next((suite for suite in SUITES if f"{path}.".startswith(f"{suite}.")), None)


def skips(case: ET.Element) -> Iterator[str]:
    """Yield a line for each skip of a test case; an expected failure is no skip."""
    for skipped in case.findall("skipped"):
        if skipped.get("type") != "pytest.xfail":
            yield f"{case.get('classname')}::{case.get('name')}: {skipped.get('message')}"


def problems(report: Path) -> list[str]:
    """Return what is wrong with a run: skips, and suites of which nothing ran."""
    try:
        # our own pytest wrote the report a moment ago: it is no stranger's XML
        cases = list(ET.parse(report).getroot().iter("testcase"))  # noqa: S314
    except (OSError, ET.ParseError) as error:
        return [f"no report of the tests at {report}: {error}"]
    ran: set[str] = set()
    found: list[str] = []
    for case in cases:
        if suite := suite_of(case):
            ran.add(suite)
            found += skips(case)
    return found + [f"{suite}: no test ran" for suite in SUITES if suite not in ran]


def main(arguments: list[str]) -> int:
    """Check the report named on the command line; return the exit code."""
    if len(arguments) != 1:
        print("usage: check_no_skips.py JUNIT_XML", file=sys.stderr)
        return 2
    found = problems(Path(arguments[0]))
    for line in found:
        print(f"not skipped in continuous integration, please: {line}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
