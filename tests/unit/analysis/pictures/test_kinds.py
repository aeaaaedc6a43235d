"""What each kind of picture shows, and where it cannot be drawn."""

import pytest

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
from fsl_sage_flwr.analysis.pictures.scatter import best_points
from fsl_sage_flwr.analysis.pictures.times import time_parts
from fsl_sage_flwr.analysis.result_table import results_table
from fsl_sage_flwr.analysis.spread import NAMES, SUFFIXES

from ....made_runs import MIB, make_run
from .compared import CLIENT_ROWS, comparison_for, legend, lines_of


def test_the_command_knows_every_kind():
    assert tuple(KINDS) == PICTURES


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
