import xml.etree.ElementTree as ElementTree
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from fsl_sage_flwr.analysis import ResultsError, load_results
from fsl_sage_flwr.analysis.choices import PICTURES
from fsl_sage_flwr.analysis.comparison import compare
from fsl_sage_flwr.analysis.pictures import (
    KINDS,
    NothingToDrawError,
    draw,
    draw_all,
    draw_xy,
    encoded,
)
from fsl_sage_flwr.analysis.pictures.byte_kinds import sent_bytes
from fsl_sage_flwr.analysis.pictures.curves import mean_curve
from fsl_sage_flwr.analysis.pictures.dark import fit_to_scheme
from fsl_sage_flwr.analysis.pictures.panels import panels_of
from fsl_sage_flwr.analysis.pictures.positions import positions_of
from fsl_sage_flwr.analysis.pictures.scatter import best_points
from fsl_sage_flwr.analysis.pictures.style import styles
from fsl_sage_flwr.analysis.pictures.times import time_parts
from fsl_sage_flwr.analysis.result_table import results_table
from fsl_sage_flwr.analysis.spread import NAMES, SUFFIXES
from fsl_sage_flwr.runs.virtual_time import JOULES, SECONDS

from ....made_runs import MIB, make_run
from ....rows import rows

ALPHAS = [{"distribution": "noniid_dirichlet", "alpha": alpha} for alpha in (10.0, 0.5)]
# What a kind needs beside two algorithms and two seeds.
NEEDS = {
    "accuracy-alpha": ALPHAS,
    "scatter-alpha": ALPHAS,
    "align-interval": [{"align_interval": 5}],
    "head-size": [{"auxiliary": "linear", "head": 10}],
}

CLIENT_ROWS = [
    {"client": client, "seconds": 1.0 + client, "down_bytes": MIB, "up_bytes": client * MIB,
     "failure": "timeout" if client == 1 else ""}
    for client in range(3)
]  # fmt: skip


def comparison_for(root, kind):
    clocked = {SECONDS: 60.0, JOULES: 5.0}
    sent = {"down_client_half_bytes": 7 * MIB, "up_smashed_bytes": MIB, **clocked}
    for seed in (1, 2):
        make_run(root, [0.4, 0.6], seed=seed, algorithm="fed_avg", head=0, mib_a_round=3,
                 row=clocked)  # fmt: skip
        for changes in ({}, *NEEDS.get(kind, [])):
            row = {"alignment_cosine": 0.5, **sent}
            make_run(root, [0.2, 0.8 - seed / 100], seed=seed, row=row, client_rows=CLIENT_ROWS,
                     **changes)  # fmt: skip
    return compare(load_results(root), mean_of=1, target=0.6)


def legend(picture):
    return [text.get_text() for text in picture.figure.legends[0].get_texts()]


def lines_of(ax, marker):
    return [line for line in ax.get_lines() if line.get_marker() == marker]


def test_the_command_knows_every_kind():
    assert tuple(KINDS) == PICTURES


@pytest.mark.slow
@rows("kind", KINDS, lambda kind: kind in ("accuracy-communication", "time", "head-size"))
def test_every_kind_is_drawn_with_text_as_text(tmp_path, kind):
    picture = draw(kind, comparison_for(tmp_path, kind), 100.0)
    assert picture.name == kind
    assert picture.caption.endswith(".")
    svg = encoded(picture, "svg")
    texts = [element.text for element in ElementTree.fromstring(svg).iter() if element.text]
    assert any("FSL-SAGE" in text for text in texts)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["svg", "png", "pdf"])
def test_the_same_picture_is_the_same_file(tmp_path, how):
    make_run(tmp_path, [0.5, 0.75])
    comparison = compare(load_results(tmp_path), mean_of=1)
    once, again = (encoded(draw("time", comparison, 100.0), how) for _ in range(2))
    assert once == again
    if how == "png":
        grey = np.asarray(Image.open(BytesIO(once)).convert("L"))
        assert grey.shape[1] == 1050  # 3.5 inches at 300 dots
        assert grey.std() > 20


@pytest.mark.slow
def test_a_kind_without_variation_is_refused_or_left_out(tmp_path):
    make_run(tmp_path, [0.5])
    comparison = compare(load_results(tmp_path), mean_of=1)
    with pytest.raises(NothingToDrawError, match=r"^accuracy-alpha: no two Dirichlet alphas"):
        draw("accuracy-alpha", comparison, 100.0)
    pictures, left_out = draw_all(comparison, 100.0)
    assert [picture.name for picture in pictures] == [*PICTURES[:4], "time"]
    why = dict(line.removeprefix("not drawn, ").split(": ", 1) for line in left_out)
    assert set(why) == set(PICTURES) - {picture.name for picture in pictures}
    assert why["alignment-rounds"].startswith("the runs have no values in 'alignment_cosine'; col")
    assert "set clock.device in the runs" in why["accuracy-hours"]
    assert why["bytes-kinds"] == "the runs have no bytes by kind"
    assert why["client-seconds"] == "the runs have no rows in clients.csv"
    assert why["align-interval"] == "no two values of align.interval in the results: 2"


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


def test_a_point_is_where_the_best_accuracy_was_first_reached(tmp_path):
    make_run(tmp_path, [0.2, 0.9, 0.9, 0.5])
    (point,) = best_points(compare(load_results(tmp_path), mean_of=1)).to_dict("records")
    assert (point["test_accuracy"], point["bytes"]) == (0.9, 2 * MIB)


@pytest.mark.slow
def test_times_are_those_of_the_definition(tmp_path):
    make_run(tmp_path, [0.2, 0.7, 0.9], clients=4, mib_a_round=2)
    comparison = compare(load_results(tmp_path), mean_of=1, target=0.7)
    (parts,) = time_parts(comparison, bandwidth=8.0).to_dict("records")
    assert parts["reached"]
    assert (parts["clients"], parts["server"], parts["alignment"]) == (1.0, 0.5, 0.25)
    assert parts["communication"] == pytest.approx(2 * 2 * MIB / 4 / 1e6)
    never = compare(load_results(tmp_path), mean_of=1, target=0.95)
    (parts,) = time_parts(never, bandwidth=8.0).to_dict("records")
    assert not parts["reached"]
    assert parts["server"] == 0.75


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
def test_error_bars_are_the_tables(tmp_path):
    """Two runs of one seed count once, as they do in the table."""
    for alpha in (0.5, 10.0):
        for seed, final in ((1, 0.5), (1, 0.7), (2, 0.8)):
            make_run(tmp_path, [final], seed=seed, distribution="noniid_dirichlet", alpha=alpha,
                     run_name=f"{alpha}-{seed}-{final}")  # fmt: skip
    for spread in SUFFIXES:
        comparison = compare(load_results(tmp_path), mean_of=1, spread=spread, budget=MIB)
        table = results_table(comparison).iloc[0]
        picture = draw("accuracy-alpha", comparison, 100.0)
        (ax,) = picture.figure.get_axes()
        (bars,) = ax.containers
        (across, up), *_ = bars[2][0].get_segments()
        half = 100 * table[f"accuracy_at_budget_{SUFFIXES[spread]}"]
        assert (up[1] - across[1]) / 2 == pytest.approx(half)
        assert bars[0].get_ydata()[0] == pytest.approx(100 * 0.7)
        assert NAMES[spread] in picture.caption


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


def test_bytes_are_stacked_by_kind(tmp_path):
    comparison = comparison_for(tmp_path, "bytes-kinds")
    sent = sent_bytes(comparison.rounds[comparison.rounds["algorithm"] == "fsl_sage"])
    assert sent["up_smashed_bytes"] == 2 * MIB
    picture = draw("bytes-kinds", comparison, 100.0)
    (ax,) = picture.figure.get_axes()
    assert legend(picture) == ["client half down", "smashed up"]
    # The runs of FedAvg have none.
    assert [label.get_text() for label in ax.get_yticklabels()] == ["FSL-SAGE"]
    assert [(bar.get_x(), bar.get_width()) for bar in ax.patches] == [(0, 14), (14, 2)]
    assert [text.get_text() for text in ax.texts] == ["16 MiB"]
    assert ax.get_xlabel() == "communication (MiB)"


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


@pytest.mark.slow
def test_a_named_picture_is_its_pair(tmp_path):
    comparison = comparison_for(tmp_path, "align-interval")
    for kind, pair in (
        ("accuracy-communication", ("bytes", None)), ("loss-rounds", ("round", "test_loss")),
        ("align-interval", ("align.interval", "final_accuracy")),
        ("client-failures", ("client", "failures")),
    ):  # fmt: skip
        named, other = draw(kind, comparison, 100.0), draw_xy(comparison, *pair)
        assert named.caption == other.caption
        assert encoded(named, "svg") == encoded(other, "svg")


@pytest.mark.slow
def test_the_rows_of_clients_are_drawn_by_client(tmp_path):
    make_run(tmp_path, [0.5, 0.75], client_rows=CLIENT_ROWS)
    comparison = compare(load_results(tmp_path), mean_of=1)
    found = {}
    for name in ("seconds", "bytes", "failures"):
        (ax,) = draw(f"client-{name}", comparison, 100.0).figure.get_axes()
        (line,) = lines_of(ax, "*")
        assert list(line.get_xdata()) == [0, 1, 2]
        found[name] = list(line.get_ydata())
    # Latency is of the median round; bytes and failures are of both rounds.
    assert found == {"seconds": [1, 2, 3], "bytes": [2, 4, 6], "failures": [0, 2, 0]}
    with pytest.raises(NothingToDrawError, match="no column 'mood' in clients"):
        draw_xy(comparison, "client", "mood")


def test_a_broken_table_of_clients_is_one_line(tmp_path):
    path = make_run(tmp_path, [0.5], client_rows=CLIENT_ROWS)
    comparison = compare(load_results(tmp_path), mean_of=1)
    for content, says in (("a,b\n1,2\n", "its header has no client"), ("", "not a table of")):
        (path / "clients.csv").write_text(content, encoding="utf-8")
        with pytest.raises(ResultsError, match=says):
            draw("client-bytes", comparison, 100.0)


@pytest.mark.slow
def test_an_svg_for_a_dark_page_is_the_same_svg_with_more_rules(tmp_path):
    make_run(tmp_path, [0.5, 0.75], algorithm="fed_avg")
    svg = encoded(draw("accuracy-rounds", compare(load_results(tmp_path), mean_of=1), 100.0), "svg")
    root = ElementTree.fromstring(fit_to_scheme(svg))
    assert root[0].tag.endswith("style")
    assert "prefers-color-scheme: dark" in root[0].text
    assert len(root) == len(ElementTree.fromstring(svg)) + 1
    # Every colour that the rules are about is one that matplotlib wrote.
    for rule in ("fill: #ffffff", "stroke: #000000", "stroke: #d9d9d9", "stroke: #555555"):
        assert rule in root[0].text
        assert rule.encode() in svg
