"""Files that a person names."""

from pathlib import Path

import pytest

from daemon.errors import InputError
from daemon.files import gather
from tests import builders
from tests.builders import CT, Picture

SMALL = builders.tissue(1, 8, 8)


def test_files_and_folders_become_studies(tmp_path: Path) -> None:
    one = builders.write(tmp_path / "a" / "1.dcm", Picture("1.1", "1.2"), SMALL)
    two = builders.write(tmp_path / "a" / "deep" / "no-suffix", Picture("1.3", "1.4"), SMALL)
    three = builders.write(tmp_path / "3.dcm", Picture("1.5", "1.2"), SMALL)
    found = gather([tmp_path / "a", three])
    assert dict(found.studies) == {"1.2": [("1.1", one), ("1.5", three)], "1.4": [("1.3", two)]}
    assert found.refused == []


def test_the_same_instance_twice_counts_once(tmp_path: Path) -> None:
    path = builders.write(tmp_path / "1.dcm", Picture("1.1", "1.2"), SMALL)
    builders.write(tmp_path / "copy.dcm", Picture("1.1", "1.2"), SMALL)
    assert dict(gather([path, tmp_path]).studies) == {"1.2": [("1.1", path)]}


def test_what_is_left_out_for_its_uid_is_listed(tmp_path: Path) -> None:
    """Copies are harmless; other content of one UID would be lost without a word."""
    builders.write(tmp_path / "1.dcm", Picture("1.1", "1.2"), SMALL)
    other = builders.write(tmp_path / "2.dcm", Picture("1.1", "1.2", number=2), SMALL)
    found = gather([tmp_path])
    assert [path for path, _ in found.refused] == [other]
    assert "same SOP Instance UID" in found.refused[0][1]


def test_what_cannot_be_analysed_is_listed_with_its_reason(tmp_path: Path) -> None:
    builders.write(tmp_path / "1.dcm", Picture(), SMALL)
    builders.write(tmp_path / "2.dcm", Picture("1.9", sop_class=CT), SMALL)
    (tmp_path / "3.txt").write_text("a letter, and not a DICOM file")
    (tmp_path / "4").write_bytes(b"")
    (tmp_path / ".hidden").write_text("nobody's business")
    refused = {path.name: reason for path, reason in gather([tmp_path]).refused}
    assert set(refused) == {"2.dcm", "3.txt", "4"}
    assert refused["2.dcm"] == "not an ultrasound image but CT Image Storage"
    assert "not a DICOM file" in refused["3.txt"]
    assert "empty" in refused["4"]


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = builders.write(tmp_path / "1.dcm", Picture())
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"1\.dcm: "):
        gather([path])


def test_the_first_reason_stands_for_all(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.txt").write_text("a letter, and not a DICOM file")
    with pytest.raises(InputError, match=r"0\.txt: .*\(and 2 more\)$"):
        gather([tmp_path])


def test_an_empty_folder_says_what_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name DICOM ultrasound files or folders"):
        gather([tmp_path])


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none does not exist"):
        gather([tmp_path / "none"])
