from dataclasses import replace

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


def test_the_outline_decides_where_the_network_has_a_row_for_it() -> None:
    """The image is as its mean everywhere, so that only the outline differs."""
    torch.manual_seed(0)
    image, round_, ragged = (torch.zeros(1, 1, 64, 64) for _ in range(3))
    round_[..., 16:48, 16:48] = 1
    ragged[..., 16:48, 16:48] = 1
    ragged[..., 20:24, 16:30] = 0
    wide = replace(TINY, classifier_hidden=32)  # of four units every one may be silent
    plain = AxNet(wide).eval()
    outlined = AxNet(replace(wide, outline_widths=(4, 8))).eval()
    with torch.inference_mode():
        assert torch.equal(plain.classifier(image, round_), plain.classifier(image, ragged))
        one, other = outlined.classifier(image, round_), outlined.classifier(image, ragged)
    assert not torch.equal(one, other)


def test_the_outline_is_not_how_sure_the_mask_is() -> None:
    """On an even image of zeros nothing but the outline could tell two masks apart."""
    torch.manual_seed(0)
    network = AxNet(replace(TINY, outline_widths=(4, 8), classifier_hidden=32)).eval()
    image, sure = torch.zeros(1, 1, 64, 64), torch.full((1, 1, 64, 64), 0.01)
    doubtful = sure.clone()
    sure[..., 16:48, 16:48], doubtful[..., 16:48, 16:48] = 0.99, 0.6
    with torch.inference_mode():
        assert torch.equal(network.classifier(image, sure), network.classifier(image, doubtful))


def test_the_class_teaches_no_outline() -> None:
    """Through the outline's row no gradient reaches the mask."""
    torch.manual_seed(0)
    network = AxNet(replace(TINY, outline_widths=(4, 8), classifier_hidden=32))
    mask = torch.randn(2, 1, 64, 64, requires_grad=True)
    network.classify(torch.zeros(2, 1, 64, 64), mask).sum().backward()
    assert mask.grad is not None
    assert not mask.grad.any()
    assert any(p.grad is not None and p.grad.any() for p in network.classifier.outline.parameters())
