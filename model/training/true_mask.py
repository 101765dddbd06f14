"""What the classifier says of the nodes as a person drew them, in place of those it found.

The difference to the score of the predicted mask is what the segmentation costs.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from model.nodes import territories
from model.preprocess import Box, prepare
from model.runtime import Predictor

_SURE = 12.0  # logit of a drawn mask: the soft mask is then 0 or 1 to five digits


def scores(
    predictor: Predictor, frame: NDArray[np.uint8], box: Box | None, true: NDArray[np.bool_]
) -> list[float]:
    """Score each component of a true mask.

    Parameters
    ----------
    frame
        (H, W, 3) uint8 RGB.
    box
        The crop that the model is given; None: the whole frame.
    true
        (H, W) bool.

    Returns
    -------
    list
        Calibrated scores 0..1, one a component; none where the crop holds no node.
    """
    card = predictor.bundle.card
    item = prepare(frame, box, card.input)
    x0, y0, x1, y1 = item.placement.source
    labels, count = ndimage.label(true[y0:y1, x0:x1], structure=np.ones((3, 3)))
    masks = [item.placement.mask_to_target(labels == n) for n in range(1, count + 1)]
    masks = [mask for mask in masks if mask.any()]  # a speck may vanish at the network's size
    if not masks:
        return []
    return _classified(predictor, item.tensor, masks)


def _classified(
    predictor: Predictor, image: NDArray[np.float32], masks: list[NDArray[np.bool_]]
) -> list[float]:
    """Score masks (H, W) of one network image (1, H, W), each with the others masked out."""
    with torch.inference_mode():
        place = predictor.device
        focus = torch.from_numpy(territories(masks)[:, np.newaxis]).to(place, torch.float32)
        whole = torch.from_numpy(np.any(masks, axis=0)).to(place)
        logits = torch.where(whole, _SURE, -_SURE)[None, None]
        many = torch.from_numpy(image[np.newaxis]).to(place).expand(len(masks), -1, -1, -1)
        answers = [
            torch.sigmoid(network.classify(many, logits, focus) / predictor.bundle.card.temperature)
            for network in predictor.networks
        ]
        return [float(value) for value in torch.stack(answers).mean(0).cpu()]
