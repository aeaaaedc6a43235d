import pytest

from fsl_sage_flwr.app.config import ConfigError
from fsl_sage_flwr.simulations.settings import resolve
from fsl_sage_flwr.simulations.sweeps import read_sweep


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'preset = "paper"\nseed = [1, 2]\nbatch-size = 64\n'
        '[[runs]]\ndistribution = "iid"\n[[runs]]\nbatch-size = 32\nalpha = [0.1, 1]\n',
        encoding="utf-8",
    )
    return path


def test_words_are_lists_of_their_keys_types(tmp_path):
    (block,) = read_sweep(None, ["alpha=0.1,1", "seed=3", "align.warm-start=true,false", "cut=a,b"])
    wanted = {"alpha": [0.1, 1.0], "seed": 3, "align.warm-start": [True, False], "cut": ["a", "b"]}
    assert block.items() >= wanted.items()
    assert block["results-dir"].startswith("/")


def test_a_file_has_lists_tables_and_a_preset_below(file):
    one, two = read_sweep(str(file), [])
    assert one["seed"] == two["seed"] == [1, 2]
    assert (one["batch-size"], two["batch-size"]) == (64, 32)
    assert one["model"] == two["model"] == "resnet18"
    assert (one["distribution"], two["alpha"]) == ("iid", [0.1, 1])
    assert "preset" not in one
    assert "runs" not in one


def test_words_win_in_every_table(file):
    blocks = read_sweep(str(file), ["batch-size=8", "seed=5,6"])
    assert [(block["batch-size"], block["seed"]) for block in blocks] == [(8, [5, 6])] * 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["seed"], "settings are given as key=value"),
        (["seed=1,x"], "seed = 'x': a whole number is needed; in a sweep a comma stands between"),
        (["seed=x"], "seed = 'x': a whole number is needed"),
        (["seed=1,1"], "'seed=1,1': a value is given twice"),
        (["seed=1,"], "seed = '': a whole number is needed"),
    ],
)
def test_a_word_that_cannot_be_read(words, says):
    with pytest.raises(ConfigError) as error:
        read_sweep(None, words)
    assert says in str(error.value)
    assert ("comma" in str(error.value)) == ("," in words[0] and "twice" not in says)


def test_a_file_whose_runs_are_no_tables(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text("runs = 3\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"runs must be tables, \[\[runs\]\]"):
        read_sweep(str(path), [])


def test_no_such_preset_names_presets_and_experiments():
    with pytest.raises(ConfigError, match="align-interval"):
        read_sweep("nothing", [])


def test_a_run_refuses_a_sweeps_preset():
    with pytest.raises(ConfigError, match="fsl-sage sweep --preset align-interval"):
        resolve("align-interval", [])
