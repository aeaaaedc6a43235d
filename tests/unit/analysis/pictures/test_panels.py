"""Panels, titles, legends and styles."""

import pytest

from fsl_sage_flwr.analysis import load_results
from fsl_sage_flwr.analysis.comparison import compare
from fsl_sage_flwr.analysis.pictures import NothingToDrawError, draw, encoded
from fsl_sage_flwr.analysis.pictures.panels import panels_of
from fsl_sage_flwr.analysis.pictures.positions import positions_of
from fsl_sage_flwr.analysis.pictures.style import styles

from ....made_runs import make_run
from .compared import comparison_for


@pytest.mark.slow
def test_panels_are_what_differs_and_idle_keys_are_in_all_of_them(tmp_path):
    make_run(tmp_path, [0.5], distribution="noniid_dirichlet", alpha=0.5)
    make_run(tmp_path, [0.5])
    make_run(tmp_path, [0.5], align_interval=5)
    make_run(tmp_path, [0.5], algorithm="fed_avg", align_interval=7)
    panels = panels_of(compare(load_results(tmp_path), mean_of=1))
    found = {panel.title: sorted(set(panel.rounds["algorithm"])) for panel in panels}
    assert found == {
        "Dirichlet, l = 2": ["fsl_sage"],
        "iid, l = 2": ["fed_avg", "fsl_sage"],
        "iid, l = 5": ["fed_avg", "fsl_sage"],
    }


def test_algorithms_look_the_same_everywhere_and_unlike_each_other():
    own = ["fed_avg", "sl_multi_server", "sl_single_server", "cse_fsl", "fsl_sage"]
    look = styles(["mine", *reversed(own), "another"])
    assert list(look) == [*own, "another", "mine"]
    assert look["fsl_sage"] == styles(["fsl_sage"])["fsl_sage"]
    for part in ("colour", "marker", "dashes"):
        assert len({getattr(style, part) for style in look.values()}) == len(look)


@pytest.mark.slow
def test_alphas_are_in_order_and_iid_is_behind_them(tmp_path):
    comparison = comparison_for(tmp_path, "scatter-alpha")
    assert list(positions_of(comparison, "alpha").ticks.values()) == ["0.5", "10", "iid"]
    (ax,) = draw("scatter-alpha", comparison, 100.0).figure.get_axes()[:1]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["α = 0.5", "α = 10", "iid"]


@pytest.mark.slow
def test_pictures_of_runs_without_accuracy_are_of_what_they_are_judged_by(tmp_path):
    for name, alpha in (("a", 0.1), ("b", 1.0)):
        make_run(
            tmp_path, [0.5, 0.6], run_name=name, distribution="noniid_dirichlet", alpha=alpha,
            row={"test_accuracy": None},
        )  # fmt: skip
    comparison = compare(load_results(tmp_path), mean_of=1)
    with pytest.raises(NothingToDrawError, match="the runs have no accuracy; loss-"):
        draw("accuracy-communication", comparison, 100.0)
    for kind in ("accuracy-alpha", "scatter-alpha", "time", "loss-rounds"):
        picture = draw(kind, comparison, 100.0)
        assert "ccuracy" not in picture.title + picture.caption
        assert "ccuracy" not in encoded(picture, "svg").decode()


@pytest.mark.slow
def test_every_picture_says_what_was_run_and_legends_what_bands_and_bars_are(tmp_path):
    comparison = comparison_for(tmp_path, "accuracy-alpha")
    for kind, says in (("accuracy-communication", "bands"), ("accuracy-alpha", "bars")):
        figure = draw(kind, comparison, 100.0).figure
        assert figure.get_suptitle() == "simple_conv on digits, 4 clients"
        title = figure.legends[0].get_title().get_text()
        assert title == f"{says}: ± standard deviation, 2 seeds"
    one = compare(load_results(make_run(tmp_path / "one", [0.5])))
    figure = draw("accuracy-rounds", one, 100.0).figure
    assert figure.get_suptitle() == "FSL-SAGE: simple_conv on digits, 4 clients, iid"
    assert figure.legends[0].get_title().get_text() == ""


@pytest.mark.slow
def test_a_long_title_has_several_lines_and_a_higher_picture(tmp_path):
    short = compare(load_results(make_run(tmp_path / "a", [0.5])))
    long = compare(load_results(make_run(tmp_path / "b", [0.5], model="m" * 30, dataset="d" * 30)))
    figures = [draw("accuracy-rounds", runs, 100.0).figure for runs in (short, long)]
    lines = [figure.get_suptitle().count("\n") + 1 for figure in figures]
    assert lines[0] < lines[1]
    assert figures[0].get_figheight() < figures[1].get_figheight()


@pytest.mark.slow
def test_each_panel_has_its_target_unless_one_is_given(tmp_path):
    """An easy setting is not judged by the hardest one."""
    for alpha, best in ((0.1, 0.5), (10.0, 0.9)):
        for name in ("fed_avg", "fsl_sage"):
            make_run(tmp_path, [0.2, best], algorithm=name, distribution="noniid_dirichlet",
                     alpha=alpha)  # fmt: skip
    titles = [
        [ax.get_title() for ax in draw("accuracy-rounds", runs, 100.0).figure.get_axes()]
        for runs in (compare(load_results(tmp_path), mean_of=1, target=target)
                     for target in (None, 0.4))
    ]  # fmt: skip
    assert titles == [
        ["α = 0.1: target 50 %", "α = 10: target 90 %"],
        ["α = 0.1: target 40 %", "α = 10: target 40 %"],
    ]
    (ax,) = draw("time", compare(load_results(tmp_path), mean_of=1), 100.0).figure.get_axes()
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "α = 0.1: to 50 %", "FedAvg", "FSL-SAGE", "α = 10: to 90 %", "FedAvg", "FSL-SAGE",
    ]  # fmt: skip
