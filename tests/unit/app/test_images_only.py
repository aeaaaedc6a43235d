import pytest

from fsl_sage_flwr.cli import main

LANGUAGE = ["task=causal_lm", "model=org/name", "dataset=e2e_nlg"]


@pytest.mark.parametrize("words", [["leakage", *LANGUAGE], ["cuts", *LANGUAGE]])
def test_a_command_that_looks_at_images_refuses_other_tasks(words, capsys):
    assert main(words) == 2
    said = capsys.readouterr().err
    assert f"fsl-sage {words[0]} looks at images; only task = 'image_classification'" in said
