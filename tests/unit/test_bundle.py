import hashlib

import pytest

from model.bundle_file import CARD_NAME, SHIPPED, Bundle, OperatingPoint, write
from model.errors import BundleError
from tests.builders_net import bundle, card, weights

WEIGHTS = "weights.safetensors"


def _edit(path, old: str, new: str) -> None:
    text = (path / CARD_NAME).read_text()
    assert old in text
    (path / CARD_NAME).write_text(text.replace(old, new))


def test_what_is_written_is_read(tmp_path) -> None:
    points = (
        OperatingPoint("max_accuracy", 0.4, 0.5, 1.0, (0.2, 0.8), (0.9, 1.0), 0.25),
        OperatingPoint("plain", 0.6),
    )
    written = card(operating_points=points, temperature=1.5, metrics={"test": {"n": 1}})
    assert write(tmp_path / "b", written, [weights()]).card == written
    assert Bundle.load(tmp_path / "b").card == written


def test_a_card_without_a_row_for_the_outline_is_as_it_was(tmp_path) -> None:
    bundle(tmp_path)
    assert "outline_widths" not in (tmp_path / CARD_NAME).read_text()
    assert "classifier_encoder" not in (tmp_path / CARD_NAME).read_text()
    assert Bundle.load(tmp_path).card.architecture.outline_widths == ()


def test_the_digest_is_of_the_card_s_bytes(tmp_path) -> None:
    made = bundle(tmp_path)
    assert hashlib.sha256((tmp_path / CARD_NAME).read_bytes()).hexdigest() == made.digest


def test_the_shipped_bundle_is_a_small_demonstration() -> None:
    shipped = Bundle.load(SHIPPED)
    assert shipped.demonstration
    assert shipped.name == "AxNode demonstration"
    assert sum(file.stat().st_size for file in SHIPPED.iterdir()) <= 25e6
    assert [p.name for p in shipped.operating_points] == [
        "max_accuracy",
        "youden",
        "specificity>=0.95",
        "sensitivity>=0.90",
    ]


def test_no_folder(tmp_path) -> None:
    with pytest.raises(BundleError, match="no model bundle at"):
        Bundle.load(tmp_path / "none")


def test_no_card(tmp_path) -> None:
    with pytest.raises(BundleError, match=r"bundle\.toml cannot be read"):
        Bundle.load(tmp_path)


def test_no_weights(tmp_path) -> None:
    bundle(tmp_path)
    (tmp_path / WEIGHTS).unlink()
    with pytest.raises(BundleError, match=r"weights\.safetensors cannot be read"):
        Bundle.load(tmp_path)


def test_one_flipped_bit_in_the_weights(tmp_path) -> None:
    bundle(tmp_path)
    data = bytearray((tmp_path / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (tmp_path / WEIGHTS).write_bytes(data)
    with pytest.raises(BundleError, match="SHA-256"):
        Bundle.load(tmp_path)


def test_a_pickle_with_the_right_hash_is_refused(tmp_path) -> None:
    with pytest.raises(BundleError, match="not a safetensors file"):
        write(tmp_path, card(), [b"\x80\x04cos\nsystem\n(S'true'\ntR."])


@pytest.mark.parametrize("data", [b"", b"\x02\0\0\0\0\0\0\0[]", b"\xff" * 64])
def test_weights_that_are_no_safetensors(tmp_path, data) -> None:
    with pytest.raises(BundleError, match="not a safetensors file"):
        write(tmp_path, card(), [data])


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("format_version = 1", "format_version = 9", "format version 9; this AxNode reads 1"),
        ("format_version = 1", "", "format version None"),
        ('name = "Test"', "name = ", "is not TOML"),
        ('licence = "Apache-2.0"', "", "licence"),
        ('licence = "Apache-2.0"', 'licence = "x"\nlicense = "y"', "license"),
        ("temperature = 1.0", "temperature = 0.0", "temperature"),
        ("temperature = 1.0", 'temperature = "hot"', "mistyped"),
        ("demonstration = true", 'demonstration = "no"', "demonstration"),
        ('aggregation = "max"', 'aggregation = "sum"', "aggregation"),
        ("threshold = 0.5\nsens", "threshold = 1.5\nsens", "threshold"),
        ("width = 64", "width = 65", "multiple of 16"),
        (
            "classifier_widths = [",
            "outline_widths = [\n    0,\n]\nclassifier_widths = [",
            "above 0",
        ),
        ('resize = "stretch"', 'resize = "crop"', "resize"),
        (f'file = "{WEIGHTS}"', f'file = "../{WEIGHTS}"', "outside of the bundle"),
    ],
)
def test_a_wrong_card_says_what_is_wrong(tmp_path, old, new, says) -> None:
    bundle(tmp_path)
    _edit(tmp_path, old, new)
    with pytest.raises(BundleError, match=says) as caught:
        Bundle.load(tmp_path)
    assert "\n" not in str(caught.value).strip()


def test_a_card_that_cannot_be_read(tmp_path) -> None:
    (tmp_path / CARD_NAME).mkdir()
    with pytest.raises(BundleError, match="cannot be read"):
        Bundle.load(tmp_path)


def test_an_ensemble_has_several_files(tmp_path) -> None:
    made = write(tmp_path, card(), [weights(seed=0), weights(seed=1)])
    assert [w.file for w in made.weights] == ["weights-1.safetensors", "weights-2.safetensors"]
