import re

import pytest

from fsl_sage_flwr.app.config import ConfigError, RunConfig
from fsl_sage_flwr.app.unused_keys import refuse_unused
from fsl_sage_flwr.config.key_names import ALSO_CALLED, unknown
from fsl_sage_flwr.config.key_table import own_keys, own_new_names
from fsl_sage_flwr.simulations.settings import preset_names, read_preset, read_words, resolve


def test_paper_is_a_preset():
    assert "paper" in preset_names()
    assert preset_names() == sorted(preset_names())


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_valid(name):
    config = resolve(name, [])
    refuse_unused([config], read_preset(name), ())
    for key, value in read_preset(name).items():
        assert config.to_run_config()[key] == value


def test_paper_is_the_papers_setting():
    wanted = {
        "dataset": "cifar10",
        "model": "resnet18",
        "num-server-rounds": 200,
        "batch-size": 256,
        "optimizer": "adam",
        "learning-rate": 1e-3,
        "weight-decay": 1e-4,
        "server-optimizer": "adam",
        "server-learning-rate": 1e-3,
        "server-weight-decay": 1e-4,
        "server-update-interval": 5,
        "align.interval": 10,
        "auxiliary.learning-rate": 1e-3,
        "align.lr-schedule": "constant",
        "auxiliary.init": "random",
        "align.epochs": 100,
        "align.batch-size": 1000,
        "align.dataset-size": 1000,
        "seed": 200,
    }
    assert resolve("paper", []).to_run_config().items() >= wanted.items()


ADAM, SGD = ("adam", 1e-3, 1e-4), ("sgd", 0.01, 1e-4)
FALLING = "multi_step at=100,150 gamma=0.1"


@pytest.mark.parametrize(
    ("preset", "model", "batch", "recipe", "schedule"),
    [
        ("paper", "resnet18", 256, ADAM, "constant"),
        ("paper-dirichlet", "resnet18", 256, ADAM, "constant"),
        ("paper-resnet50", "resnet50", 128, ADAM, "constant"),
        ("paper-resnet56", "resnet56", 256, ADAM, "constant"),
        ("paper-resnet110", "resnet110", 256, ADAM, FALLING),
        ("paper-resnet152", "resnet152", 128, ("adam", 1e-3, 0.0), FALLING),
        ("paper-resnet1202", "resnet1202", 128, SGD, FALLING),
    ],
)
def test_presets_train_as_the_research_script_does(preset, model, batch, recipe, schedule):
    config = resolve(preset, [])
    assert (config.model, config.batch_size) == (model, batch)
    for half in (config.client, config.server):
        assert (half.optimizer, half.learning_rate, half.weight_decay) == recipe
        assert (half.momentum, half.lr_schedule) == (0.9, schedule)
    assert config.to_run_config()["auxiliary.lr-schedule"] == "constant"


def test_presets_differ_from_the_papers_only_where_models_and_data_do():
    may = re.compile("(server-)?(optimizer|learning-rate|weight-decay|momentum|lr-schedule)")
    paper = resolve("paper", []).to_run_config()
    for name in preset_names():
        config = resolve(name, []).to_run_config()
        if config["task"] != paper["task"]:
            continue
        different = {key for key in config if config[key] != paper[key] and not may.fullmatch(key)}
        allowed = {"model", "batch-size"}
        if name == "paper-dirichlet":
            allowed = {"distribution", "max-communication-mib"}
        if name == "paper-compressed":
            alignment = {"align.epochs", "align.batch-size", "align.lr-schedule", "auxiliary.init"}
            allowed = {"compression", "max-communication-mib", *alignment}
        assert different <= allowed, name


def test_the_language_preset_is_the_research_scripts_without_its_mistakes():
    config = resolve("paper-llm", [])
    lora = config.task_options
    assert (config.task, config.model, config.cut) == (
        "causal_lm",
        "gpt2-medium",
        "transformer.h.1",
    )
    assert (lora.lora_r, lora.lora_alpha, lora.lora_dropout) == (4, 32, 0.1)
    assert (lora.label_smoothing, lora.head_blocks, lora.max_length) == (0.1, 3, 128)
    assert config.client.optimizer == config.server.optimizer == "adamw"
    assert config.client.learning_rate == config.server.learning_rate == 2e-4
    assert config.options.auxiliary_learning_rate == 2e-4
    assert (config.batch_size, config.num_server_rounds) == (8, 200)
    warm = config.schedule("lr-schedule")
    assert warm(0.475) == pytest.approx(0.5)
    assert warm(0.95) == 1.0
    assert warm(200.0) == 0.0


def test_words_take_their_keys_types():
    words = ["seed=7", "alpha=2", "keep-optimizer-state=False", "cut=a=b", "run-name=", "seed=8"]
    values = read_words(words)
    assert values == {
        "seed": 8,
        "alpha": 2.0,
        "keep-optimizer-state": False,
        "cut": "a=b",
        "run-name": "",
    }
    assert [type(value) for value in values.values()] == [int, float, bool, str, str]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("seed", "'seed': settings are given as key=value"),
        ("seed=x", "seed = 'x': a whole number is needed"),
        ("seed=1.5", "seed = '1.5': a whole number is needed"),
        ("alpha=x", "alpha = 'x': a number is needed"),
        ("keep-optimizer-state=1", "keep-optimizer-state = '1': true or false is needed"),
    ],
)
def test_a_word_that_is_wrong_is_refused(word, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        read_words([word])


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("sed=1", "unknown key 'sed': did you mean 'seed'"),
        ("=1", "unknown key ''"),
        ("seed=-1", "seed = -1: it must be at least 0"),
        ("model=resnet", "model = 'resnet': valid are"),
    ],
)
def test_what_is_resolved_is_checked(word, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        resolve(None, [word])


def test_words_win_over_the_preset():
    config = resolve("paper", ["batch-size=64"])
    assert config.batch_size == 64
    assert config.num_server_rounds == 200


def test_nothing_said_is_the_defaults(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = resolve(None, [])
    assert config.results_dir == str(tmp_path / "results")
    assert config.resume == ""
    assert {**config.to_run_config(), "results-dir": "results"} == RunConfig().to_run_config()


def test_directories_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    config = resolve(None, ["results-dir=out", "resume=~/latest.pt"])
    assert config.results_dir == str(tmp_path / "out")
    assert config.resume == "/home/somebody/latest.pt"
    assert resolve(None, ["results-dir=/out"]).results_dir == "/out"


def test_a_file_is_a_preset(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('seed = 3\nmodel = "resnet18"\n', encoding="utf-8")
    config = resolve(str(path), ["seed=4"])
    assert (config.seed, config.model) == (4, "resnet18")


def test_a_files_preset_is_below_its_own_keys(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('preset = "paper"\nbatch-size = 64\n', encoding="utf-8")
    config = resolve(str(path), ["seed=4"])
    assert (config.model, config.batch_size, config.seed) == ("resnet18", 64, 4)
    above = tmp_path / "above.toml"
    above.write_text(f'preset = "{path}"\nseed = 5\n', encoding="utf-8")
    config = resolve(str(above), [])
    assert (config.model, config.batch_size, config.seed) == ("resnet18", 64, 5)
    path.write_text(f'preset = "{above}"\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"mine\.toml' includes itself"):
        resolve(str(path), [])
    path.write_text("preset = 3\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"preset = 3 in preset .* the name of a preset"):
        resolve(str(path), [])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("comm-threshold-mb", "max-communication-mib"),
        ("max-reply-mb", "max-reply-mib"),
        ("malicious-clients", "robust.assumed-malicious"),
        ("client-noise-multiplier", "privacy.noise-multiplier"),
        ("align-interval", "align.interval"),
        ("client-max-params", "auto-cut.max-params"),
        ("augmentation", "data.augmentation"),
    ],
)
def test_a_key_that_was_renamed_is_answered_with_its_name(old, new):
    line = f"key {old!r} is now called {new!r}; give that"
    assert unknown(old, own_keys(), own_new_names()) == line
    with pytest.raises(ConfigError, match=f"^{line}$"):
        resolve(None, [f"{old}=1"])
    assert RunConfig.unchecked({old: 7.0}).to_run_config()[new] == 7.0


def test_a_language_models_old_keys_have_their_new_names():
    old = {"task": "causal_lm", "max-length": 9, "bleu": True, "prompt-column": "question"}
    found = RunConfig.unchecked(old).to_run_config()
    assert found["data.prompt-column"] == "question"
    assert (found["language.max-length"], found["language.bleu"]) == (9, True)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("codec", "it is a group, whose keys are codec.smashed, codec.gradients, "),
        ("data", "did you mean 'dataset'?"),
        ("max-tokens", "did you mean 'language.max-new-tokens'?"),
        ("learning_rates", "did you mean 'learning-rate'?"),
    ],
)
def test_an_unknown_key_is_answered_with_the_likely_one(name, answer):
    line = unknown(name, own_keys(), own_new_names())
    assert line.startswith(f"unknown key {name!r}: {answer}")


def test_names_of_other_programs_stand_for_keys():
    assert set(ALSO_CALLED.values()) <= set(own_keys())


def test_a_value_that_was_renamed_is_answered_with_its_name():
    with pytest.raises(ConfigError, match=r"^distribution = 'noniid': .* 'shards'; give that$"):
        resolve(None, ["distribution=noniid"])
    assert RunConfig.unchecked({"distribution": "noniid"}).distribution == "shards"


def test_groups_of_a_toml_file_are_flattened(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        "seed = 3\n[privacy]\nlabel-epsilon = 2.0\n[align]\ninterval = 7\n", encoding="utf-8"
    )
    config = resolve(str(path), [])
    assert (config.seed, config.privacy.label_epsilon, config.options.align_interval) == (3, 2.0, 7)


def test_an_unknown_preset_is_answered_with_the_names(tmp_path):
    with pytest.raises(ConfigError, match=r"preset 'papr' is neither .* did you mean 'paper'\?"):
        read_preset("papr")
    with pytest.raises(ConfigError, match=r"is neither a TOML file"):
        read_preset(str(tmp_path))


@pytest.mark.parametrize("content", [b"seed = = 3", b"seed = 1\nseed = 2", b"\xff\xfe\x00"])
def test_a_file_that_is_not_toml_is_refused(tmp_path, content):
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"preset '{path}' is not valid TOML"):
        read_preset(str(path))


def test_a_file_that_sets_nothing_is_refused(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("# batch-size = 64\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"preset '{path}' sets nothing; write lines such as"):
        read_preset(str(path))


def test_a_preset_with_a_table_is_refused(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[seed]\nvalue = 3\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"^unknown key 'seed.value': did you mean 'seed'\?$"):
        resolve(str(path), [])
