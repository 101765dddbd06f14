"""Synthetic nodes in real pictures, and datasets joined."""

import csv
import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from model.errors import TrainingError
from model.training import join
from model.training.graft import features_of, graft
from model.training.graft_cohort import write_grafts
from model.training.index import read_index

CLEAR = next(
    f for f in (features_of(1, n, "separable")[1] for n in range(50)) if not f.unclear and f.large
)
DARK = next(f for f in (features_of(1, n, "separable")[1] for n in range(50)) if f.unclear)


def tissue(seed: int = 0) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((240, 300)), (1, 3))
    return np.clip(120 + 60 * noise / noise.std() * 0.3, 0, 255).astype(np.uint8)


def none() -> np.ndarray:
    return np.zeros((240, 300), bool)


def folder(path: Path, *, names: tuple[str, ...] = ("a", "b"), split: str = "") -> Path:
    for part in ("images", "masks"):
        (path / part).mkdir(parents=True)
    lines = ["image,mask,label,patient" + (",split" if split else "")]
    for number, name in enumerate(names):
        Image.fromarray(tissue(number)).save(path / f"images/{name}.png")
        mask = np.zeros((240, 300), np.uint8)
        mask[150:200, 20:80] = 255 * (number % 2)
        Image.fromarray(mask).save(path / f"masks/{name}.png")
        tail = f",{split}" if split else ""
        lines.append(f"images/{name}.png,masks/{name}.png,{number % 2},{name}{tail}")
    (path / "index.csv").write_text("\n".join(lines) + "\n")
    return path


def rows(path: Path) -> list[dict[str, str]]:
    with (path / "index.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("seed", range(6))
def test_a_grafted_node_is_where_its_mask_says(seed: int) -> None:
    before = tissue()
    made = graft(before, none(), DARK, np.random.default_rng(seed))
    assert made.nodes
    union = np.any(made.nodes, axis=0)
    inside = ndimage.binary_erosion(union, iterations=3)
    assert made.grey[inside].mean() < before[inside].mean() - 10
    far = ~union
    for node in made.nodes:  # tissue gives way as far off as the node is wide
        rows, columns = np.nonzero(node)
        top, left = np.ptp(rows), np.ptp(columns)
        far[max(rows.min() - top, 0) :, max(columns.min() - left, 0) : columns.max() + left] = False
    assert np.abs(made.grey[far].astype(int) - before[far]).max(initial=0) <= 1


def test_a_hilum_stays_brighter_than_its_cortex() -> None:
    brighter = 0
    for seed in range(12):
        made = graft(tissue(), none(), CLEAR, np.random.default_rng(seed))
        node = made.nodes[0]
        core = ndimage.binary_erosion(node, iterations=max(int(np.sqrt(node.sum()) / 6), 3))
        rim = node & ~ndimage.binary_erosion(node, iterations=4)
        brighter += bool(made.grey[core].mean() > made.grey[rim].mean())
    assert brighter >= 9


def test_a_node_is_drawn_as_plainly_as_coarse_tissue_asks_for() -> None:
    """The same nodes in tissue of little contrast, and of much: none of them drowns in it."""
    darker = []
    for contrast in (8, 32):
        noise = ndimage.gaussian_filter(
            np.random.default_rng(3).standard_normal((240, 300)), (3, 6)
        )
        rough = np.clip(120 + contrast * noise / noise.std(), 0, 255).astype(np.uint8)
        steps = []
        for seed in range(10):
            made = graft(rough, none(), CLEAR, np.random.default_rng(seed))
            rim = made.nodes[0] & ~ndimage.binary_erosion(made.nodes[0], iterations=3)
            steps.append(float(rough[rim].mean()) - float(made.grey[rim].mean()))
        darker.append(np.mean(steps))
    assert darker[1] > darker[0] + 2


def test_no_node_is_drawn_onto_what_is_taken() -> None:
    taken = none()
    taken[:, :150] = True
    for seed in range(8):
        made = graft(tissue(), taken, CLEAR, np.random.default_rng(seed))
        assert not any((node & taken).any() for node in made.nodes)
    assert graft(tissue(), ~none(), CLEAR, np.random.default_rng(0)).nodes == ()


def test_nobody_would_see_a_node_in_a_shadow() -> None:
    assert graft(tissue() // 12, none(), CLEAR, np.random.default_rng(0)).nodes == ()


def test_a_cohort_keeps_patients_parts_and_other_lesions(tmp_path: Path) -> None:
    data = folder(tmp_path / "d", split="train")
    count = write_grafts(data, tmp_path / "g", 7, images=2)
    found = rows(tmp_path / "g")
    assert len(found) == count == 4
    assert {(row["patient"], row["split"]) for row in found} == {("a", "train"), ("b", "train")}
    assert {row["label"] for row in found if row["patient"] == "b"} == {""}  # its lesion is there
    assert {row["label"] for row in found if row["patient"] == "a"} <= {"0", "1"}
    lesion = np.asarray(Image.open(data / "masks/b.png")) > 0
    for row in found:
        mask = np.asarray(Image.open(tmp_path / "g" / row["mask"])) > 0
        assert mask.any()
        assert row["patient"] != "b" or (mask[lesion].all() and (mask & ~lesion).any())
    assert len(read_index(tmp_path / "g")) == 4


def test_the_same_seed_draws_the_same_cohort(tmp_path: Path) -> None:
    data = folder(tmp_path / "d")
    prints = []
    for name, seed in (("x", 1), ("y", 1), ("z", 2)):
        write_grafts(data, tmp_path / name, seed)
        files = sorted((tmp_path / name).rglob("*.png"))
        prints.append(hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest())
    assert prints[0] == prints[1] != prints[2]
    assert "split" not in rows(tmp_path / "x")[0]


def test_pictures_that_nobody_outlined_are_passed_over(tmp_path: Path) -> None:
    data = folder(tmp_path / "d")
    index = (data / "index.csv").read_text().replace("masks/a.png", "")
    (data / "index.csv").write_text(index)
    write_grafts(data, tmp_path / "g", 1)
    assert {row["patient"] for row in rows(tmp_path / "g")} == {"b"}


def test_joined_datasets_keep_their_columns_and_share_patients(tmp_path: Path) -> None:
    one, two = folder(tmp_path / "one"), folder(tmp_path / "two", split="test")
    assert join.join([one, two], tmp_path / "j", same={"b": "a"}) == join.Joined(4, 1)
    found = rows(tmp_path / "j")
    assert {row["patient"] for row in found} == {"a"}
    assert [row["dataset"] for row in found] == ["one", "one", "two", "two"]
    assert [row["split"] for row in found] == ["", "", "test", "test"]
    for row in found:
        assert (tmp_path / "j" / row["image"]).is_file()
        assert (tmp_path / "j" / row["mask"]).is_file()


def test_the_command_says_what_cannot_be_joined(tmp_path: Path, capsys) -> None:
    one = folder(tmp_path / "one")
    (tmp_path / "x").mkdir()
    twin = folder(tmp_path / "x" / "one")
    assert join.main([str(one), str(twin), "--out", str(tmp_path / "j")]) == 2
    assert "same name" in capsys.readouterr().err
    assert join.main([str(one), "--out", str(tmp_path / "x")]) == 2
    assert "exists" in capsys.readouterr().err
    with pytest.raises(TrainingError, match=r"index\.csv"):
        join.join([tmp_path / "x"], tmp_path / "k")
    assert not (tmp_path / "k").exists()
    for pair in ("x=b", "b=x"):
        assert join.main([str(one), "--out", str(tmp_path / "j"), "--same", pair]) == 2
        assert "no row has the patient x" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        join.main([str(one), "--out", str(tmp_path / "j"), "--same", "a=b", "--same", "a=a"])
    assert "one name two others" in capsys.readouterr().err
    chain = ("--same", "a=b", "--same", "b=c")
    assert join.main([str(one), "--out", str(tmp_path / "j"), *chain]) == 2
    assert "renamed itself" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        join.main([str(one), "--out", str(tmp_path / "j"), "--same", "a"])
    assert join.main([str(one), "--out", str(tmp_path / "j"), "--same", "a=b"]) == 0
    assert "0 patients stand in more than one" in capsys.readouterr().out


def test_a_join_that_fails_leaves_nothing(tmp_path: Path, capsys) -> None:
    one = folder(tmp_path / "one")
    (one / "masks" / "b.png").unlink()
    assert join.main([str(one), "--out", str(tmp_path / "j")]) == 2
    assert "No such file" in capsys.readouterr().err
    assert not (tmp_path / "j").exists()


def test_a_row_that_leaves_its_mask_off_is_joined(tmp_path: Path) -> None:
    one = folder(tmp_path / "one")
    index = (one / "index.csv").read_text().splitlines()
    (one / "index.csv").write_text("image,label,patient,mask\nimages/a.png,0,a\n")
    assert len(index) == 3
    join.join([one], tmp_path / "j")
    assert rows(tmp_path / "j")[0]["mask"] == ""


def test_what_cannot_be_drawn_into_is_one_line(tmp_path: Path) -> None:
    data = folder(tmp_path / "d")
    with pytest.raises(TrainingError, match="holds a dataset already"):
        write_grafts(data, data, 1)
    assert len(rows(data)) == 2
    bare = folder(tmp_path / "bare")
    index = (bare / "index.csv").read_text()
    (bare / "index.csv").write_text(index.replace("masks/a.png", "").replace("masks/b.png", ""))
    with pytest.raises(TrainingError, match="has a mask"):
        write_grafts(bare, tmp_path / "g", 1)
    boxed = folder(tmp_path / "boxed")
    lines = (boxed / "index.csv").read_text().splitlines()
    head = lines[0] + ",tissue_x0,tissue_y0,tissue_x1,tissue_y1"
    (boxed / "index.csv").write_text("\n".join([head, *(f"{x},0,0,900,240" for x in lines[1:])]))
    with pytest.raises(TrainingError, match=r"index\.csv:2: the tissue box"):
        write_grafts(boxed, tmp_path / "h", 1)


def test_grafts_lie_within_the_region_of_their_row(tmp_path: Path) -> None:
    data = folder(tmp_path / "d")
    lines = (data / "index.csv").read_text().splitlines()
    head = lines[0] + ",tissue_x0,tissue_y0,tissue_x1,tissue_y1,fold"
    text = "\n".join([head, *(f"{x},150,10,290,230,{n}" for n, x in enumerate(lines[1:], 1))])
    (data / "index.csv").write_text(text)
    write_grafts(data, tmp_path / "g", 3, images=2)
    for row in rows(tmp_path / "g"):
        assert [row[f"tissue_{edge}"] for edge in ("x0", "y0", "x1", "y1")] == [
            "150", "10", "290", "230",
        ]  # fmt: skip
        assert row["fold"] == {"a": "1", "b": "2"}[row["patient"]]
        mask = np.asarray(Image.open(tmp_path / "g" / row["mask"])) > 0
        assert not mask[:, 290:].any()


def test_a_patient_keeps_its_label(tmp_path: Path) -> None:
    data = folder(tmp_path / "d", names=("a", "c", "e", "g", "i", "k", "m"))
    index = (data / "index.csv").read_text().replace(",1,", ",0,")
    (data / "index.csv").write_text(index)
    write_grafts(data, tmp_path / "g", 5)
    assert {row["label"] for row in rows(tmp_path / "g")} <= {"0", ""}
    assert {features_of(5, n, "separable")[0] for n in range(7)} == {0, 1}


def test_another_lesion_stays_as_it_is() -> None:
    before, taken = tissue(), none()
    taken[90:170, 120:180] = True
    for seed in range(10):
        made = graft(before, taken, DARK, np.random.default_rng(seed))
        assert np.array_equal(made.grey[taken], before[taken])


def test_colour_is_taken_off_as_in_the_service(tmp_path: Path) -> None:
    data = folder(tmp_path / "d", names=("a",))
    frame = np.stack([tissue()] * 3, -1)
    frame[4:8, 4:40] = (255, 230, 0)
    Image.fromarray(frame).save(data / "images/a.png")
    write_grafts(data, tmp_path / "g", 1)
    out = np.asarray(Image.open(tmp_path / "g" / rows(tmp_path / "g")[0]["image"]))
    assert out[4:8, 4:40].max() < 200


def test_letters_of_the_picture_are_not_what_nodes_are_made_of() -> None:
    """A network that saw nodes with letters in them marked the words on a picture."""
    grey, taken = tissue(), none()
    taken[:, :150] = True
    for row in range(4, 236, 16):  # strokes, as of letters
        grey[row : row + 4, 4:146] = 255
    brightest = []
    for seed in range(10):
        made = graft(grey, taken, CLEAR, np.random.default_rng(seed))
        brightest += [int(np.percentile(made.grey[node], 99)) for node in made.nodes]
    assert len(brightest) >= 5
    assert max(brightest) < 190
