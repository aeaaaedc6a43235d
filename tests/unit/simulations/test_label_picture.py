from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fsl_sage_flwr.app.assembly import distribution_of
from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.cli import main
from fsl_sage_flwr.data import ImageDataset, load_images, partition_indices
from fsl_sage_flwr.simulations.label_picture import (
    Division,
    division_of,
    draw,
    label_counts,
    summary,
)

from ...rows import rows
from ...tables import pictures, write_split

pytestmark = pytest.mark.usefixtures("own_datasets")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.integers(1, 5))
def test_counts_add_up(labels, clients):
    parts = [list(range(i, len(labels), clients)) for i in range(clients)]
    counts = label_counts(labels, parts, 6)
    assert counts.shape == (clients, 6)
    for row, part in zip(counts, parts, strict=True):
        assert row.tolist() == [sum(labels[i] == label for i in part) for label in range(6)]


@pytest.mark.sample
@pytest.mark.parametrize("distribution", ["iid", "noniid_dirichlet", "shards"])
def test_counts_are_those_of_the_runs_partition(distribution):
    config = RunConfig(distribution=distribution, alpha=0.5, seed=7)
    train, _ = load_images("digits")
    parts = partition_indices(train.labels, 5, distribution_of(config))
    counts = division_of(config, 5).counts
    for row, part in zip(counts, parts, strict=True):
        assert row.tolist() == torch.bincount(train.labels[part], minlength=10).tolist()


@pytest.mark.slow
def test_no_image_is_decoded(tmp_path, monkeypatch):
    for split in ("train", "test"):
        write_split(tmp_path / "d", split, pictures(12), [0, 1, 2] * 4)
    monkeypatch.setattr(ImageDataset, "decode", None)
    division = division_of(RunConfig(dataset=str(tmp_path / "d")), 3)
    assert division.counts.sum(axis=0).tolist() == [4, 4, 4]


@pytest.mark.slow
def test_labels_are_called_what_the_data_call_them(tmp_path):
    names = ("cat", "dog", "frog")
    for split in ("train", "test"):
        write_split(tmp_path / "d", split, pictures(6), [0, 1, 2] * 2, names=names)
    assert division_of(RunConfig(dataset=str(tmp_path / "d")), 2).class_names == names
    assert division_of(RunConfig(), 2).class_names == ()


@pytest.mark.slow
@rows(
    ("clients", "classes"),
    [(1, 2), (4, 10), (12, 20), (3, 21), (60, 200)],
    lambda row: row == (4, 10),
)
def test_the_picture_is_a_png_that_shows_something(tmp_path, clients, classes):
    counts = np.random.default_rng(0).integers(0, 50, (clients, classes))
    path = tmp_path / "labels.png"
    names = tuple(f"class {label}" for label in range(classes)) if clients > 3 else ()
    draw(Division(counts, names), "a title", path)
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.width == 2148  # both columns of a page, at 300 dots an inch
        assert 300 <= image.height <= 5000
        assert len(image.convert("RGB").getcolors(2**24)) > min(classes, 20)


def test_the_summary_is_of_the_sizes():
    counts = np.array([[1, 2], [0, 9], [4, 0], [5, 5]])
    assert summary(counts) == "examples per client: min 3, median 6.5, max 10"


@pytest.mark.slow
def test_the_command_writes_the_picture_and_says_where(tmp_path, capsys):
    path = tmp_path / "labels.png"
    words = ["data", "dataset=digits", "distribution=shards", "shards-per-client=3", "seed=3"]
    assert main([*words, "--clients", "7", "--out", str(path)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said == f"{path}: examples per client: min 204, median 204, max 204"
    assert path.stat().st_size > 5000


@pytest.mark.slow
def test_without_out_the_name_says_what_it_is(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["data", "--clients", "3"]) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["digits-iid-3-clients.png"]
    assert "min 479, median 479, max 479" in capsys.readouterr().out


@pytest.mark.slow
def test_femnists_writers_can_be_drawn(tmp_path, capsys):
    write_split(
        tmp_path / "femnist", "train", pictures(40, (28, 28)), [i % 62 for i in range(40)],
        label="character", classes=62, more={"writer_id": [f"w{i % 4}" for i in range(40)]},
    )  # fmt: skip
    out, dataset = tmp_path / "x.png", f"femnist:{tmp_path / 'femnist'}"
    words = ["data", f"dataset={dataset}", "distribution=natural", "--clients", "2"]
    assert main([*words, "--out", str(out)]) == 0
    assert out.is_file()


@pytest.mark.sample
@pytest.mark.parametrize(
    ("words", "says", "status"),
    [
        (["dataset=mnist"], "dataset = 'mnist': valid are digits, cifar10", 2),
        (["distribution=dirichlet"], "distribution = 'dirichlet': valid are iid, non", 2),
        (["alpha=0", "distribution=noniid_dirichlet"], "alpha = 0.0: it must be above 0", 2),
        (["--out", "no/such/place/x.png"], "--out 'no/such/place/x.png': there is no dir", 2),
        (["--out", "."], "--out '.' cannot be written: Is a directory", 2),
        (["dataset=/no/such"], "dataset directory '/no/such' does not exist", 1),
        (
            ["distribution=natural"],
            "distribution 'natural' needs the person of",
            1,
        ),
        (["--clients", "1000"], "1437 training examples are too few for 1000 clients", 1),
    ],
)
def test_a_wrong_command_line_is_one_line(tmp_path, monkeypatch, capsys, words, says, status):
    monkeypatch.chdir(tmp_path)
    assert main(["data", *words]) == status
    said = capsys.readouterr().err
    assert said.startswith(f"fsl-sage: {says}")
    assert said.count("\n") == 1
    assert list(Path(tmp_path).iterdir()) == []
