"""Real ultrasound files: what training prepares is what the daemon gives to the network."""

from pathlib import Path

import numpy as np
import pytest

from daemon.commands.readers import readers
from daemon.pipeline import Recipe, analyse
from model.preprocess import Prepared, Spec, normalise
from model.training.config import Regions
from model.training.data import load_cache, with_regions
from model.training.index import Row

pytestmark = pytest.mark.integration

READERS = readers()
SPEC = Spec()
# vendor, compression, colour space, with and without declared regions; each with one panel
FILES = {
    "philips_breast_greyscale_image.dcm": 1,
    "philips_breast_greyscale_cine27.dcm": 27,
    "philips_epiq_jpegll_mono.dcm": 1,
    "philips_cx50_OBXXXX1A_rle.dcm": 1,
    "philips_no-pixel-spacing_rle_3regions.dcm": 1,
    "ge_US-RGB-8-epicard_BE.dcm": 1,
    "esaote_ybr422_uncompressed.dcm": 1,
    "acuson_ybrfull_rle.dcm": 1,
    "nema_US1_J2KI.dcm": 1,
    "sonoque_phantom_anechoic_jpeg_rgb.dcm": 1,
}


class Recorder:
    """Stands where the model stands, and keeps what it is given."""

    together = 4

    def __init__(self) -> None:
        self.seen: list[Prepared] = []

    def predict(self, batch: list[Prepared]) -> list[list[object]]:
        """Find nothing."""
        self.seen += batch
        return [[] for _ in batch]


@pytest.mark.parametrize("name", FILES)
def test_training_and_daemon_give_the_network_the_same(
    us_dicom: Path, tmp_path: Path, name: str
) -> None:
    path = us_dicom / name
    recorder = Recorder()
    analyse([("1.2", path)], recorder, Recipe(SPEC, 30, "root"))  # type: ignore[arg-type]
    assert len(recorder.seen) == FILES[name]
    rows = [Row(path, frame, None, None, "p", None) for frame in range(1, FILES[name] + 1)]
    rows = with_regions(rows, READERS)
    cache = load_cache(tmp_path, rows, SPEC, Regions(), seed=0, readers=READERS, workers=0)
    for grey, prepared in zip(cache.images, recorder.seen, strict=True):
        assert np.array_equal(normalise(grey, SPEC), prepared.tensor)
