"""Which components count as nodes, chosen on validation images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.nodes import PredictedNode, Rules, components
from model.runtime import Predictor
from model.training import rules
from model.training.data import PICTURES
from model.training.index import read_index
from tests.builders_net import bundle

SIDE = 64


class Seer(Predictor):
    """Sees in every image what its grey says: 0 to 255 is a probability of 0 to 1.

    What lies on the right half is called suspicious.
    """

    def predict(self, batch, rules=None):
        """Undo the normalisation of pictures that have the size of the network's image."""
        spec = self.bundle.card.input
        maps = [np.clip(item.tensor[0] * spec.std + spec.mean, 0, 1) for item in batch]
        return [[self._node(part) for part in components(map_, (0, 0), rules)] for map_ in maps]

    def _node(self, part):
        score = 0.9 if part.column >= SIDE // 2 else 0.2
        return PredictedNode(part.row, part.column, part.mask, score, part.area_px, part.peak)


def disk(centre: tuple[int, int], radius: int) -> np.ndarray:
    rows, columns = np.ogrid[:SIDE, :SIDE]
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


def chosen(
    folder: Path,
    images: list[tuple[list[tuple[np.ndarray, float]], np.ndarray]],
    labels: str = "",
) -> Rules:
    """Choose on images, each a list of blobs with their probability, and the true mask.

    `labels` has a character for each, "-" where none is known; left out, all are 0.
    """
    lines = ["image,mask,label,patient,tissue_x0,tissue_y0,tissue_x1,tissue_y1"]
    for number, (blobs, true) in enumerate(images):
        grey = np.zeros((SIDE, SIDE), np.uint8)
        for blob, probability in blobs:
            grey[blob] = round(255 * probability)
        Image.fromarray(grey).save(folder / f"{number}.png")
        Image.fromarray(true.astype(np.uint8) * 255).save(folder / f"m{number}.png")
        label = labels[number : number + 1].replace("-", "") if labels else "0"
        lines.append(f"{number}.png,m{number}.png,{label},p{number},0,0,{SIDE},{SIDE}")
    (folder / "index.csv").write_text("\n".join(lines) + "\n")
    return rules.choose(Seer(bundle(folder / "b"), "cpu"), read_index(folder), PICTURES)


NODE, SPECK, NOTHING = disk((24, 24), 10), disk((52, 52), 4), np.zeros((SIDE, SIDE), bool)


@pytest.mark.parametrize("sure", [0.65, 0.99])
def test_a_doubtful_node_is_kept_where_nothing_speaks_against_it(tmp_path, sure) -> None:
    found = chosen(tmp_path, [([(NODE, sure)], NODE)])
    assert (found.min_fraction, found.min_peak) == (0.001, 0.6)


def test_a_missed_node_costs_more_than_a_speck_beside_another(tmp_path) -> None:
    """Counting would ask for a peak that two specks fall short of, and so does the third's node."""
    beside = ([(NODE, 0.99), (SPECK, 0.82)], NODE)
    found = chosen(tmp_path, [beside, beside, ([(NODE, 0.82)], NODE)])
    assert found.min_peak <= 0.8


def test_what_is_seen_where_there_is_nothing_is_dropped(tmp_path) -> None:
    doubtful = ([(SPECK, 0.82)], NOTHING)
    found = chosen(tmp_path, [([(NODE, 0.99)], NODE), doubtful, doubtful])
    assert found.min_peak == 0.85


def test_a_node_outlined_badly_is_better_than_a_node_missed(tmp_path) -> None:
    true, found = disk((48, 48), 6), disk((48, 48), 8)
    kept = chosen(tmp_path, [([(NODE, 0.99), (found, 0.7)], NODE | true)])
    assert kept.min_peak == 0.6


def test_a_node_that_tells_of_the_class_is_worth_a_speck(tmp_path) -> None:
    """By Dice alone both specks would go, and the only positive patient's node with them."""
    doubtful = ([(SPECK, 0.82)], NOTHING)
    there = disk((24, 48), 10)
    images = [([(there, 0.65)], there), ([(NODE, 0.99)], NODE), doubtful, doubtful]
    for name, labels, peak in (("a", "----", 0.85), ("b", "10--", 0.6)):
        (tmp_path / name).mkdir()
        assert chosen(tmp_path / name, images, labels).min_peak == peak
