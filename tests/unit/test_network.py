from dataclasses import replace

import pytest
import timm
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


BORROWED = replace(TINY, classifier_encoder="mobilenetv3_small_050", classifier_hidden=32)


def test_a_borrowed_encoder_goes_no_further_down_than_a_sixteenth() -> None:
    features = AxNet(BORROWED).classifier.features
    (coarse,) = features(torch.zeros(2, 1, 64, 80))
    assert coarse.shape[2:] == (4, 5)
    whole = timm.create_model("mobilenetv3_small_050", in_chans=1, num_classes=0)
    count = sum(p.numel() for p in whole.parameters())
    assert sum(p.numel() for p in features.parameters()) < count / 2  # nothing coarser is kept


def test_a_borrowed_encoder_reads_what_is_inside_the_mask_whatever_its_size() -> None:
    """On an even node the mean over the mask is the same for a small mask and for a large one."""
    torch.manual_seed(0)
    classifier = AxNet(BORROWED).classifier.eval()
    features = torch.zeros(1, 3, 8, 8)
    features[..., 2:4, 2:4] = 5
    classifier.features = _Fixed(features)
    small, large = torch.zeros(1, 1, 128, 128), torch.zeros(1, 1, 128, 128)
    small[..., 32:64, 32:64] = 1
    large[..., 32:64, :] = 1
    image = torch.ones(1, 1, 128, 128)
    with torch.inference_mode():
        assert classifier._content(image, small)[0, 0] == 5
        assert classifier._content(image, large)[0, 0] == 5 * 4 / 16
        assert not classifier._content(image, torch.zeros_like(small))[0, 0]  # nothing is masked


def test_the_class_reaches_the_segmenter_through_a_borrowed_encoder_too() -> None:
    network = AxNet(BORROWED)
    network(torch.randn(2, 1, 64, 64))[1].sum().backward()
    gradients = [p.grad for p in network.segmenter.parameters() if p.grad is not None]
    assert any(float(g.abs().sum()) > 0 for g in gradients)


def test_the_classifier_sees_the_drawn_mask_where_it_is_shown() -> None:
    torch.manual_seed(0)
    network = AxNet(TINY).eval()
    image, drawn = torch.randn(2, 1, 64, 64), torch.full((2, 1, 64, 64), -1.0)
    drawn[0] = 0
    drawn[0, :, 16:48, 16:48] = 1
    with torch.inference_mode():
        found, both = network(image), network(image, None, drawn)
        sure = network.classify(image, torch.where(drawn > 0, 50.0, -50.0))
    assert torch.equal(found[0], both[0])
    assert both[1][0] == pytest.approx(float(sure[0]))
    assert both[1][0] != found[1][0]
    assert both[1][1] == found[1][1]


class _Fixed(torch.nn.Module):
    """Features that do not depend on the image."""

    def __init__(self, features: torch.Tensor) -> None:
        super().__init__()
        self._features = features

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        del image
        return [self._features]
