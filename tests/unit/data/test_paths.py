"""No character of a path is a wildcard, and what cannot be read is said with its cause."""

import socket
from urllib.parse import urlsplit

import datasets
import huggingface_hub
import pytest
from PIL import Image

from fsl_sage_flwr.data import DatasetError, hub, load_images, read_tables

from ...tables import pictures, write_split

pytestmark = pytest.mark.usefixtures("own_datasets")


def texts(folder, text):
    folder.mkdir()
    for split in ("train", "test"):
        (folder / f"{split}.csv").write_text(f"prompt,completion\n{text},x\n", encoding="utf-8")
    return str(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "beside"), [("set[12]", "set1"), ("scan?", "scanX"), ("a*b", "aQb"), ("[!x]", "y")]
)
def test_a_path_is_no_pattern(tmp_path, name, beside):
    own = texts(tmp_path / name, "own")
    texts(tmp_path / beside, "other")
    for table in read_tables(own, own).values():
        assert table["prompt"][:] == ["own"]


def test_an_image_folder_in_such_a_path(tmp_path):
    for place, labels in (("set[12]", "xy"), ("set1", "ab")):
        for split in ("train", "test"):
            for label in labels:
                folder = tmp_path / place / split / label
                folder.mkdir(parents=True)
                Image.fromarray(pictures(1)[0]).save(folder / "0.png")
    train, test = load_images(str(tmp_path / "set[12]"))
    assert train.class_names == test.class_names == ("x", "y")
    assert len(train.labels) == len(test.labels) == 2


def test_parquet_files_in_such_a_path(tmp_path):
    for split in ("train", "test"):
        name = write_split(tmp_path / "a?", split, pictures(2), [0, 1], names=("cat", "dog"))
    assert load_images(name)[0].class_names == ("cat", "dog")


@pytest.mark.parametrize("name", ["a::b", "c?"])
def test_a_path_that_cannot_be_taken_literally_is_refused(tmp_path, name):
    own = texts(tmp_path / name, "own")
    (tmp_path / name / "README.md").write_text(
        "---\nconfigs:\n- data_files: x.csv\n---\n", encoding="utf-8"
    )
    with pytest.raises(DatasetError, match="rename the directory"):
        read_tables(own, own)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("train.csv", b"mr,ref\na,b\nc,d,e,f\n", "Expected 2 fields in line 3, saw 4"),
        ("train.jsonl", b'{"mr": "a"}\n{"mr":\n', "JSON parse error"),
        ("train.csv", b"mr,ref\n\xff\xfe,b\n", "can't decode byte 0xff"),
        ("train.parquet", b"nope", "Parquet"),
    ],
)
def test_a_broken_file_is_refused_with_its_cause(tmp_path, file, content, said):
    (tmp_path / file).write_bytes(content)
    with pytest.raises(DatasetError, match=said) as caught:
        read_tables(str(tmp_path), str(tmp_path))
    assert "\n" not in str(caught.value)
    assert "must hold Parquet, CSV or JSON Lines files" in str(caught.value)
    assert "local copy" not in str(caught.value)


def test_columns_that_differ_between_files_are_said(tmp_path):
    (tmp_path / "train.csv").write_text("mr,ref\na,b\n", encoding="utf-8")
    (tmp_path / "test.csv").write_text("mr,reff\na,b\n", encoding="utf-8")
    with pytest.raises(DatasetError, match="column names don't match"):
        read_tables(str(tmp_path), str(tmp_path))


def test_the_hub_is_another_matter(tmp_path):
    with pytest.raises(DatasetError, match="give the absolute path of a local copy"):
        read_tables("nobody/nothing", "nobody/nothing")
    assert datasets.config.HF_HUB_OFFLINE


@pytest.mark.parametrize("proxies", [{}, {"https": "http://proxy:3128"}])
def test_without_a_network_one_connection_is_tried_and_the_cache_is_read(proxies, monkeypatch):
    tried, read = [], []

    def refused(address, timeout):
        tried.append(address)
        raise OSError("Name or service not known")

    def load(source, **more):
        read.append((datasets.config.HF_HUB_OFFLINE, huggingface_hub.constants.is_offline_mode()))
        raise ConnectionError("retried")

    for owner in (datasets.config, huggingface_hub.constants):
        monkeypatch.setattr(owner, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "create_connection", refused)
    monkeypatch.setattr(hub, "getproxies", lambda: proxies)
    monkeypatch.setattr(datasets, "load_dataset", load)
    host = urlsplit(huggingface_hub.constants.ENDPOINT).hostname
    why = "retried" if proxies else f"{host} cannot be reached: Name or service not known; retried"
    with pytest.raises(DatasetError, match=rf"cannot be loaded \({why}\); without a network give"):
        read_tables("nobody/nothing", "nobody/nothing")
    assert len(tried) == (0 if proxies else 1)
    assert read == [(not proxies, not proxies)]
    assert not datasets.config.HF_HUB_OFFLINE
    assert not huggingface_hub.constants.is_offline_mode()
