from dataclasses import replace

import numpy as np
import pytest

from model.architecture import Architecture
from model.bundle_file import SHIPPED, Bundle, write
from model.errors import BundleError, DeviceError
from model.nodes import Rules
from model.preprocess import prepare
from model.runtime import Predictor
from model.training.phantom import generate
from tests.builders_net import SMALL_INPUT, TINY, bundle, card, weights

EVERYTHING = Rules(threshold=0.0, min_fraction=0.0, min_peak=0.0)


@pytest.fixture(scope="module")
def shipped() -> Predictor:
    return Predictor(Bundle.load(SHIPPED), "cpu", threads=2)


def _prepared(seed: int = 0, shape: tuple[int, int] = (80, 90), spec=SMALL_INPUT):
    frame = np.random.default_rng(seed).integers(0, 255, (*shape, 1)).astype(np.uint8)
    return prepare(np.repeat(frame, 3, axis=2), (10, 20, 70, 60), spec)


def test_a_node_lies_in_source_pixels_inside_of_its_region(tmp_path) -> None:
    """Under rules that take every pixel the whole region is one node, neither more nor less."""
    predictor = Predictor(bundle(tmp_path, nodes=EVERYTHING), "cpu")
    nodes = predictor.predict([_prepared()])[0]
    assert [(n.row, n.column, n.mask.shape, n.area_px) for n in nodes] == [(20, 10, (40, 60), 2400)]
    assert 0 < nodes[0].score < 1


def test_rules_can_be_others_than_the_bundle_s(tmp_path) -> None:
    strict = replace(EVERYTHING, threshold=1.0)
    predictor = Predictor(bundle(tmp_path, nodes=strict), "cpu")
    assert predictor.predict([_prepared()]) == [[]]
    (node,) = predictor.predict([_prepared()], EVERYTHING)[0]
    assert 0 < node.peak < 1
    above = replace(EVERYTHING, min_peak=node.peak + 1e-4)
    assert predictor.predict([_prepared()], above) == [[]]
    assert len(predictor.predict([_prepared()], replace(above, min_peak=node.peak - 1e-4))[0]) == 1


def test_frames_of_a_batch_do_not_touch_each_other(tmp_path) -> None:
    predictor = Predictor(bundle(tmp_path, nodes=EVERYTHING), "cpu")
    first, second = _prepared(1), _prepared(2, (90, 80))
    together = predictor.predict([first, second])
    alone = [predictor.predict([first])[0], predictor.predict([second])[0]]
    for one, other in zip(together, alone, strict=True):
        assert one[0].score == pytest.approx(other[0].score, abs=1e-5)


def test_temperature_pulls_the_score_to_one_half(tmp_path) -> None:
    cold = Predictor(bundle(tmp_path / "a", nodes=EVERYTHING), "cpu")
    warm = Predictor(bundle(tmp_path / "b", nodes=EVERYTHING, temperature=10.0), "cpu")
    logit = [
        np.log(s / (1 - s)) for s in (p.predict([_prepared()])[0][0].score for p in (cold, warm))
    ]
    assert logit[1] == pytest.approx(logit[0] / 10, abs=1e-4)


def test_an_ensemble_averages_its_members(tmp_path) -> None:
    whole = card(nodes=EVERYTHING)
    members = [weights(seed=seed) for seed in (0, 1)]
    scores = [
        Predictor(write(tmp_path / str(i), whole, chosen), "cpu").predict([_prepared()])[0][0].score
        for i, chosen in enumerate([members[:1], members[1:], members])
    ]
    assert scores[2] == pytest.approx((scores[0] + scores[1]) / 2, abs=1e-5)


def test_a_bundle_with_a_row_for_the_outline_is_read(tmp_path) -> None:
    outlined = replace(TINY, outline_widths=(4, 8))
    made = write(tmp_path, card(architecture=outlined), [weights(outlined)])
    Predictor(made, "cpu").self_test()
    plain = write(tmp_path / "plain", card(), [weights(outlined)])
    with pytest.raises(BundleError, match="does not fit"):
        Predictor(plain, "cpu")


def test_no_frames_give_no_answers(tmp_path) -> None:
    assert Predictor(bundle(tmp_path), "cpu").predict([]) == []


def test_self_test_runs(tmp_path) -> None:
    Predictor(bundle(tmp_path), "cpu").self_test()


def test_weights_of_another_network_are_refused(tmp_path) -> None:
    other = weights(replace(TINY, classifier_widths=(4, 16)))
    made = write(tmp_path, card(), [other])
    with pytest.raises(BundleError, match="does not fit"):
        Predictor(made, "cpu")


def test_an_encoder_that_does_not_exist_is_refused(tmp_path) -> None:
    made = write(tmp_path, card(architecture=Architecture("resnet9000")), [weights()])
    with pytest.raises(BundleError, match="does not fit"):
        Predictor(made, "cpu")


def test_weights_that_change_after_the_load_are_refused(tmp_path) -> None:
    made = bundle(tmp_path)
    (tmp_path / "weights.safetensors").write_bytes(weights(seed=5))
    with pytest.raises(BundleError, match="SHA-256"):
        Predictor(made, "cpu")


@pytest.mark.parametrize("name", ["gpu", "mps", "cuda:99"])
def test_a_device_that_is_not_there_is_named(tmp_path, name) -> None:
    with pytest.raises(DeviceError, match=name):
        Predictor(bundle(tmp_path), name)


def test_out_of_memory_says_so(tmp_path) -> None:
    """A batch far beyond any memory: the allocator's own error, not a made one."""
    predictor = Predictor(bundle(tmp_path), "cpu")
    item = _prepared()
    vast = type(item)(np.broadcast_to(item.tensor[:, :1, :1], (1, 2**22, 2**22)), item.placement)
    with pytest.raises(DeviceError) as caught:
        predictor.predict([vast])
    assert caught.value.out_of_memory


def test_the_shipped_bundle_finds_the_nodes_of_fresh_phantoms(shipped) -> None:
    """Pictures of seeds that its training never saw, by the path that the daemon takes."""
    dices = []
    for patient in range(12):
        picture = generate(777, patient, "separable")
        spec = shipped.bundle.card.input
        nodes = shipped.predict([prepare(picture.frame, picture.tissue_box, spec)])[0]
        found = np.zeros(picture.mask.shape, bool)
        for node in nodes:
            h, w = node.mask.shape
            found[node.row : node.row + h, node.column : node.column + w] |= node.mask
        total = found.sum() + picture.mask.sum()
        dices.append(2 * (found & picture.mask).sum() / total)
    assert np.median(dices) > 0.75  # how it does stands in the model card


def test_the_shipped_bundle_s_score_does_not_hang_on_the_other_node(shipped) -> None:
    """Each node is scored with the others masked out of the soft mask."""
    spec = shipped.bundle.card.input
    pictures = (generate(778, patient, "separable", nodes=2) for patient in range(10))
    for picture in pictures:
        nodes = shipped.predict([prepare(picture.frame, picture.tissue_box, spec)])[0]
        if len(nodes) == 2:
            break
    assert nodes[0].score != nodes[1].score
