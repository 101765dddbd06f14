"""Where the development data is, and the real image files that many tests read."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import Engines
from tests.postgres import PostgreSQL


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder of real ultrasound files; the test is skipped, with the reason, where it is unset."""
    folder = os.environ.get("AXNODE_TEST_DATA")
    if not folder:
        pytest.skip("AXNODE_TEST_DATA is not set: real ultrasound files are needed")
    return Path(folder)


@pytest.fixture(scope="session")
def us_dicom(test_data: Path) -> Path:
    """Folder of the real DICOM ultrasound files."""
    return test_data / "us_dicom"


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """Run a PostgreSQL server for the tests of this process."""
    with PostgreSQL() as server:
        yield server


@pytest.fixture(autouse=True)  # pytest drops what is only added to a test's names
def engine(request: pytest.FixtureRequest) -> Iterator[str]:
    """Have `builders.database` open databases of an engine; of SQLite where none is named."""
    name = getattr(request, "param", "sqlite")
    if name == "postgresql":
        server: PostgreSQL = request.getfixturevalue("postgresql")
        Engines.url = staticmethod(server.of_folder)
    yield name
    Engines.url = staticmethod(Engines.sqlite)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of modules that are marked `engines` on every engine that AxNode runs on."""
    if metafunc.definition.get_closest_marker("engines"):
        metafunc.parametrize("engine", ["sqlite", "postgresql"], indirect=True)
