import torch

from model.architecture import PAPER_COUNT, PAPER_TEXT, Architecture
from model.network import AxNet, parameter_count
from tests.builders_net import TINY


def test_the_paper_s_parameter_count_is_resnet34_and_a_small_classifier() -> None:
    network = AxNet(Architecture(PAPER_COUNT))
    assert abs(parameter_count(network) / 1e6 - 22.49) < 0.05
    assert 30_000 < parameter_count(network.classifier) < 70_000


def test_the_paper_s_text_is_resnet101() -> None:
    assert abs(parameter_count(AxNet(Architecture(PAPER_TEXT))) / 1e6 - 45.70) < 0.05


def test_mask_has_the_size_of_the_image_and_each_image_one_class_logit() -> None:
    mask, label = AxNet(TINY)(torch.zeros(2, 1, 64, 80))
    assert (tuple(mask.shape), tuple(label.shape)) == ((2, 1, 64, 80), (2,))


def test_class_loss_reaches_the_segmenter_through_the_soft_mask() -> None:
    network = AxNet(TINY)
    network(torch.randn(2, 1, 64, 64))[1].sum().backward()
    gradients = [p.grad for p in network.segmenter.parameters() if p.grad is not None]
    assert any(float(g.abs().sum()) > 0 for g in gradients)


def test_focus_masks_the_rest_out() -> None:
    """What lies outside of the focus must not change the score."""
    torch.manual_seed(0)  # not every draw of such small weights looks at the right half
    network = AxNet(TINY).eval()
    image, logits = torch.randn(1, 1, 64, 64), torch.zeros(1, 1, 64, 64)
    focus = torch.zeros(1, 1, 64, 64)
    focus[..., :32] = 1
    other = image.clone()
    other[..., 32:] += 5
    with torch.inference_mode():
        alone = network.classify(image, logits, focus)
        assert torch.equal(alone, network.classify(other, logits, focus))
        assert not torch.equal(alone, network.classify(image, logits))
