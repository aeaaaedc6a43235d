import json

from fsl_sage_flwr.analysis.load_results import read_runs
from fsl_sage_flwr.analysis.run_chart import chart_data, chart_html

from ...made_runs import make_run


def test_curves_have_what_the_histories_have(tmp_path):
    make_run(tmp_path, [0.25, 0.123456789], mib_a_round=3, run_name="a")
    row = {"test_accuracy": None, "test_perplexity": 3.5, "alignment_cosine": 0.5}
    make_run(tmp_path, [0.5], run_name="b", algorithm="cse_fsl", row=row)
    make_run(tmp_path, [], run_name="c", completed=False, status="OSError: disk")
    runs = read_runs(tmp_path)
    data = chart_data(runs, ["<b>", "first", "none"])
    assert json.loads(json.dumps(data)) == data
    other, first, empty = data["runs"]
    assert first["values"]["round"] == [1.0, 2.0]
    assert first["values"]["communication (MiB)"] == [3.0, 6.0]
    assert first["values"]["seconds"] == [2.0, 4.0]
    assert first["values"]["test accuracy (%)"] == [25.0, 12.346]
    assert "test accuracy (%)" not in other["values"]
    assert other["values"]["test perplexity"] == [3.5]
    assert other["name"] == "&lt;b&gt;"
    assert (other["group"], other["colour"], other["dash"]) == ("CSE-FSL", "#009E73", "dot")
    assert first["dash"] == "12px,2px"
    assert empty["values"] == {}
    assert data["up"] == ["test accuracy (%)", "test perplexity", "test loss", "train loss",
                          "alignment cosine"]  # fmt: skip


def test_without_a_round_there_is_nothing_to_draw(tmp_path):
    make_run(tmp_path, [], completed=False, status="running")
    data = chart_data(read_runs(tmp_path), ["a"])
    assert data["up"] == []
    assert chart_html(data) == ""


def test_the_menus_have_each_axis_and_every_runs_values(tmp_path):
    make_run(tmp_path, [0.25, 0.5], run_name="a")
    make_run(tmp_path, [], run_name="c", completed=False, status="OSError: disk")
    data = chart_data(read_runs(tmp_path), ["a", "</script>"])
    page = chart_html(data)
    layout = page.rpartition("Plotly.newPlot(")[2]
    for axis, names in (("x", data["across"]), ("y", data["up"])):
        for name in names:
            label = json.dumps(name).strip('"')
            values = json.dumps(data["runs"][0]["values"].get(name, []))
            assert f'{{"{axis}":[{values.replace(" ", "")},[]]}}' in layout, name
            assert f'"label":"{label}"' in layout, name
    assert page.count("</script>") == page.count("<script")
