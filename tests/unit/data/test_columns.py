"""Which columns are images and labels: the usual names, or the given ones, or the only ones."""

import datasets
import pytest
from PIL import Image

from fsl_sage_flwr.app.assembly import identify_data
from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.data import DatasetError, load_images, load_own_images
from fsl_sage_flwr.simulations.dry_run import describe
from fsl_sage_flwr.simulations.federation import Federation

from ...tables import pictures

pytestmark = pytest.mark.usefixtures("own_datasets")

NAMES = {"sex": ["f", "m"], "label": ["a", "b", "c"], "fine_label": ["p", "q"], "kind": ["u", "v"]}


def write(folder, images, labels):
    """Write two splits with these columns, in this order; images differ in their size."""
    folder.mkdir(exist_ok=True)
    columns, features = {}, {}
    for side, column in enumerate(images):
        columns[column] = [Image.fromarray(p) for p in pictures(2, (4 + side, 4 + side))]
        features[column] = datasets.Image()
    for column in labels:
        columns[column] = [0, 1]
        features[column] = datasets.ClassLabel(names=NAMES.get(column, ["x", "y"]))
    table = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    for split in ("train", "test"):
        table.to_parquet(str(folder / f"{split}-00000-of-00001.parquet"))
    return str(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("images", "labels", "taken"),
    [
        (["mask", "image"], ["sex", "label"], ("image", "label")),
        (["mask", "img"], ["coarse_label", "fine_label"], ("img", "fine_label")),
        (["picture"], ["kind"], ("picture", "kind")),
    ],
)
def test_the_usual_name_wins_wherever_it_stands(tmp_path, images, labels, taken):
    for split in load_images(write(tmp_path / "d", images, labels)):
        assert (split.column, split.label_column) == taken
        assert split.class_names == tuple(NAMES[taken[1]])


@pytest.mark.sample
@pytest.mark.parametrize(
    ("images", "labels", "said"),
    [
        (["mask", "scan"], ["label"], r"fit as image: mask, scan; name one with data.image-column"),
        (["image", "img"], ["label"], r"fit as image: image, img; name one with data.image-column"),
        (["image"], ["sex", "kind"], r"fit as label: sex, kind; name one with data.label-column"),
        (["image"], ["label", "fine_label"], r"fit as label: label, fine_label; name one with"),
    ],
)
def test_refuses_to_guess_where_several_fit(tmp_path, images, labels, said):
    name = write(tmp_path / "d", images, labels)
    with pytest.raises(DatasetError, match=said):
        load_images(name)
    with pytest.raises(DatasetError, match=said):
        load_own_images(name, "digits")
    train, _ = load_images(name, images[-1], labels[-1])
    assert (train.column, train.label_column) == (images[-1], labels[-1])
    assert train.image_shape == ((1, 5, 5) if len(images) > 1 else (1, 4, 4))
    assert load_own_images(name, "digits", images[-1], labels[-1]).label_column == labels[-1]


def test_a_given_column_must_be_there(tmp_path):
    name = write(tmp_path / "d", ["image"], ["label"])
    with pytest.raises(DatasetError, match=r"needs an image column 'x' and a label column; its"):
        load_images(name, "x")
    with pytest.raises(DatasetError, match=r"a label column 'x'; its columns are image, label"):
        load_images(name, "", "x")
    with pytest.raises(DatasetError, match=r"'digits' has no columns; leave data.image-column and"):
        load_images("digits", "image")
    assert load_own_images(name, "digits", "x", "y").label_column == "label"


def test_a_given_column_goes_before_a_named_datasets(tmp_path):
    name = f"cifar100:{write(tmp_path / 'd', ['img'], ['fine_label', 'coarse_label'])}"
    assert load_images(name)[0].label_column == "fine_label"
    assert load_images(name, "", "coarse_label")[0].label_column == "coarse_label"


def test_a_run_says_which_columns_it_takes(tmp_path):
    name = write(tmp_path / "d", ["mask", "image"], ["sex", "kind"])
    config = RunConfig.from_run_config({"dataset": name, "data.label-column": "kind"})
    data = identify_data(config, download=False)
    assert data.columns == {"data.image-column": "image", "data.label-column": "kind"}
    assert data.found == ("data.image-column",)
    assert identify_data(RunConfig(), download=False).columns == {}
    assert identify_data(RunConfig(dataset="cifar10"), download=False) is None


@pytest.mark.slow
def test_a_dry_run_says_which_columns_it_takes(few_digits):
    said = list(describe(RunConfig(dataset=few_digits), Federation(clients=2)))
    columns = "data.image-column = 'image', data.label-column = 'label'"
    assert f"data: {columns}, 100 rows of train, 20 rows of test" in said
