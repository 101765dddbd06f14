"""Where the development data is, and the real image files that many tests read."""

import os
from pathlib import Path

import pytest


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
