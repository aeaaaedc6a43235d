"""Curves of a figure against another."""

import pytest

from fsl_sage_flwr.analysis import load_results
from fsl_sage_flwr.analysis.comparison import compare
from fsl_sage_flwr.analysis.pictures import NothingToDrawError, draw, draw_xy
from fsl_sage_flwr.analysis.pictures.curves import mean_curve

from ....made_runs import MIB, make_run
from .compared import comparison_for, legend, lines_of


@pytest.mark.slow
def test_a_curve_is_the_mean_over_the_rounds_that_all_seeds_have(tmp_path):
    make_run(tmp_path, [0.2, 0.4, 0.9], seed=1)
    make_run(tmp_path, [0.4, 0.8], seed=2)
    rounds = compare(load_results(tmp_path), mean_of=1).rounds
    curve = mean_curve(rounds, "bytes", "test_accuracy")
    assert curve["round"].tolist() == [1, 2]
    assert curve["across"].tolist() == [MIB, 2 * MIB]
    assert mean_curve(rounds, "round", "test_accuracy")["across"].tolist() == [1, 2]
    assert mean_curve(rounds, "elapsed", "test_accuracy")["across"].tolist() == [2.0, 4.0]
    assert curve["mean"].tolist() == pytest.approx([0.3, 0.6])
    assert curve["seeds"].tolist() == [2, 2]
    deviation = [0.1 * 2**0.5, 0.2 * 2**0.5]
    assert (curve["high"] - curve["mean"]).tolist() == pytest.approx(deviation)
    assert (curve["mean"] - curve["low"]).tolist() == pytest.approx(deviation)


@pytest.mark.slow
def test_the_bytes_at_the_target_are_marked(tmp_path):
    make_run(tmp_path, [0.2, 0.7, 0.9], seed=1)
    make_run(tmp_path, [0.2, 0.3, 0.9], seed=2)
    comparison = compare(load_results(tmp_path), mean_of=1, target=0.6)
    figure = draw("accuracy-communication", comparison, 100.0).figure
    (ax,) = figure.get_axes()
    curve, mark = lines_of(ax, "*")
    assert list(curve.get_xdata()) == [1, 2, 3]
    assert list(curve.get_ydata()) == pytest.approx([20, 50, 90])
    assert (list(mark.get_xdata()), list(mark.get_ydata())) == ([2.5], [60])
    assert mark.get_markerfacecolor() == "white"
    assert figure.legends[0].get_texts()[0].get_text() == "FSL-SAGE: 2.5 MiB"
    assert ax.get_xlabel() == "communication (MiB)"

    seldom = compare(load_results(tmp_path), mean_of=1, target=0.95)
    assert legend(draw("accuracy-communication", seldom, 100.0)) == ["FSL-SAGE: –"]
    make_run(tmp_path, [0.2, 0.3, 0.97], seed=3)
    seldom = compare(load_results(tmp_path), mean_of=1, target=0.95)
    assert legend(draw("accuracy-rounds", seldom, 100.0)) == ["FSL-SAGE: 3 rounds (1 of 3)"]


@pytest.mark.slow
def test_a_target_that_some_seeds_reach_is_drawn_as_such(tmp_path):
    make_run(tmp_path, [0.2, 0.9], seed=1)
    make_run(tmp_path, [0.2, 0.3], seed=2)
    for target, note in ((0.6, ["1/2"]), (0.2, [])):
        comparison = compare(load_results(tmp_path), mean_of=1, target=target)
        (ax,) = draw("accuracy-rounds", comparison, 100.0).figure.get_axes()
        assert [text.get_text() for text in ax.texts] == note
        (foot,) = [line for line in ax.get_lines() if len(set(line.get_xdata())) == 1
                   and line.get_marker() == "None"]  # fmt: skip
        assert foot.is_dashed() == bool(note)
        times = draw("time", comparison, 100.0).figure.get_axes()[0]
        assert [text.get_text()[:2] == "> " for text in times.texts] == [bool(note)]


@pytest.mark.slow
def test_alignment_is_drawn_where_there_was_one(tmp_path):
    comparison = comparison_for(tmp_path, "alignment-rounds")
    picture = draw("alignment-rounds", comparison, 100.0)
    assert legend(picture) == ["FSL-SAGE"]
    (line,) = lines_of(picture.figure.get_axes()[0], "*")
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([1, 2], [0.5, 0.5])


@pytest.mark.slow
def test_only_aligned_rounds_are_on_the_curve(tmp_path):
    for seed in (1, 2):
        path = make_run(tmp_path, [0.2, 0.4, 0.6], seed=seed, row={"alignment_cosine": 0.5})
        rows = (path / "history.csv").read_text(encoding="utf-8").splitlines()
        cells = rows[2].split(",")
        cells[rows[0].split(",").index("alignment_cosine")] = ""
        rows[2] = ",".join(cells)
        (path / "history.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    rounds = compare(load_results(tmp_path), mean_of=1).rounds
    curve = mean_curve(rounds, "round", "alignment_cosine")
    assert curve["round"].tolist() == [1, 3]


@pytest.mark.slow
def test_runs_that_differ_in_their_rounds_are_in_one_panel(tmp_path):
    make_run(tmp_path, [0.2, 0.5], algorithm="fed_avg", mib_a_round=2)
    make_run(tmp_path, [0.2, 0.4, 0.5, 0.6])
    make_run(tmp_path, [0.2, 0.4, 0.5], run_name="short", row={"up_smashed_bytes": MIB})
    comparison = compare(load_results(tmp_path), mean_of=1, target=0.5)
    assert "num-server-rounds" in comparison.settings
    (ax,) = draw("accuracy-rounds", comparison, 100.0).figure.get_axes()
    curves = [list(line.get_xdata()) for line in lines_of(ax, "*") if len(line.get_xdata()) > 1]
    assert curves == [[1, 2, 3], [1, 2, 3, 4]]
    assert legend(draw("accuracy-rounds", comparison, 100.0)) == [
        "FedAvg: 2 rounds", "FSL-SAGE: 3 rounds",
    ]  # fmt: skip
    (ax,) = draw("time", comparison, 100.0).figure.get_axes()
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "FedAvg", "FSL-SAGE, 3 rounds", "FSL-SAGE, 4 rounds",
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("ratio", "is_log"), [(4.9, False), (5.1, True)])
def test_an_axis_of_bytes_is_logarithmic_where_algorithms_differ_widely(tmp_path, ratio, is_log):
    make_run(tmp_path, [0.2, 0.5], algorithm="fed_avg", mib_a_round=ratio)
    make_run(tmp_path, [0.2, 0.5])
    comparison = compare(load_results(tmp_path), mean_of=1)
    found = {
        scale: draw("accuracy-communication", comparison, 100.0, scale).figure.axes[0].get_xscale()
        for scale in ("auto", "linear", "log")
    }
    assert found == {"auto": "log" if is_log else "linear", "linear": "linear", "log": "log"}
    assert draw("accuracy-rounds", comparison, 100.0).figure.axes[0].get_xscale() == "linear"


@pytest.mark.slow
def test_any_column_is_drawn_against_any_axis(tmp_path):
    for interval in (2, 5):
        make_run(tmp_path, [0.5, 0.75], align_interval=interval, mib_a_round=interval)
    make_run(tmp_path, [0.5, 0.6], algorithm="fed_avg")
    comparison = compare(load_results(tmp_path), mean_of=1, target=0.6)
    picture = draw_xy(comparison, "seconds", "server_seconds")
    assert (picture.name, picture.title) == (
        "server_seconds-seconds", "Server seconds against time",
    )  # fmt: skip
    line = lines_of(picture.figure.axes[0], "*")[0]
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([2, 4], [0.25, 0.25])
    picture = draw_xy(comparison, "align.interval", "bytes_to_target")
    ax = picture.figure.axes[0]
    assert ax.get_ylabel() == "MiB to 60 %"
    (line,) = lines_of(ax, "*")
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([2, 5], [4, 10])
    assert "Horizontal lines" in picture.caption  # FedAvg aligns nothing
    for x, y, says in (
        ("round", "beauty", "no values in 'beauty'; columns with values: test_accuracy"),
        ("colour", None, "no run has a setting 'colour'; settings that differ: align.interval"),
        ("client", "seconds", "the runs have no rows in clients.csv"),
    ):
        with pytest.raises(NothingToDrawError, match=says):
            draw_xy(comparison, x, y)
