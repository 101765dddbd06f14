"""Where the demonstration writes, and what it leaves alone; the loop itself runs elsewhere."""

from pathlib import Path

import pytest

from daemon import demo
from daemon.errors import InputError

FOLDERS = ("node", "pacs", "pictures", "reports")


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_that_no_demonstration_made_is_kept(name: str, tmp_path: Path) -> None:
    kept = tmp_path / name / "thesis.txt"
    kept.parent.mkdir()
    kept.write_text("years of work")
    with pytest.raises(InputError, match="choose another --out"), demo.loop(tmp_path):
        pass
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [kept]
    assert kept.read_text() == "years of work"


def test_what_an_earlier_demonstration_left_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    demo._clear(tmp_path)
    for name in FOLDERS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "old").write_text("old")
    demo._clear(tmp_path)
    assert [name for name in FOLDERS if (tmp_path / name).exists()] == []
    assert (tmp_path / "notes.txt").read_text() == "mine"
