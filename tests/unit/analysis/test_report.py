import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest
from plotly.offline import get_plotlyjs

from fsl_sage_flwr.analysis.comparison import compare
from fsl_sage_flwr.analysis.load_results import read_runs, rows_of
from fsl_sage_flwr.analysis.report import report_page

from ...made_runs import make_run

NOW = datetime(2026, 11, 26, 12, 30, tzinfo=UTC)
NASTY = "<script>alert('x')</script>"


class Page(HTMLParser):
    """Elements and their attributes."""

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    root = tmp_path_factory.mktemp("my & results")
    make_run(root, [0.5, 0.75], seed=1, learning_rate=0.01, cut=NASTY)
    make_run(root, [0.5, 0.7], algorithm="fed_avg", seed=1, learning_rate=0.01, cut=NASTY)
    make_run(root, [0.5], seed=2, completed=False, status=f"OSError: {NASTY}")
    make_run(root, [0.5, 0.6], seed=3, clients=None, learning_rate=0.01, cut=NASTY)
    (last,) = [run for run in read_runs(root) if run.config["seed"] == 3]
    made = {"torch": "2.9.0", "commit": "1234567", "host": NASTY, "command": "fsl-sage run"}
    (last.path / "provenance.json").write_text(json.dumps(made), encoding="utf-8")
    runs = read_runs(root)
    return report_page(root, runs, compare(rows_of(runs), target=0.6), 100.0, NOW)


@pytest.mark.slow
def test_it_says_what_every_run_was_and_how_to_repeat_it(page):
    repeats = re.findall(r'<pre class="repeat">(.*?)</pre>', page)
    assert len(repeats) == 4
    assert sum("--clients 4" in line and "learning-rate=0.01" in line for line in repeats) == 2
    assert "add <code>--clients N</code>" in page
    assert "4 runs, 3 completed" in page
    assert "align.epochs = 5" in page
    assert page.count("not completed</strong>") == 1
    assert "written 2026-11-26 12:30 UTC by fsl-sage" in page
    assert "<p>simple_conv on digits, iid</p>" in page


@pytest.mark.slow
def test_the_table_has_a_row_per_setting(page):
    body = page.split("<tbody>")[1].split("</tbody>")[0]
    assert body.count("<tr>") == 2
    assert "MiB to 60 %" in page


def test_it_asks_for_nothing_outside_itself(page):
    page = page.replace(get_plotlyjs(), "")  # a library with addresses that it does not ask
    parsed = Page(page)
    references = [
        attributes[name]
        for _, attributes in parsed.elements
        for name in ("src", "href", "srcset", "data", "action", "poster")
        if name in attributes
    ]
    assert references
    assert all(re.match(r"data:|#", reference) for reference in references)
    assert "url(" not in page
    assert "@import" not in page
    assert not {"iframe", "object", "embed"} & {tag for tag, _ in parsed.elements}


def test_plotly_is_in_the_page_once(page):
    assert page.count(get_plotlyjs()) == 1


def test_every_run_has_a_row_details_and_a_curve(page):
    names = ["FedAvg, iid, seed 1", "FSL-SAGE, iid, seed 1", "FSL-SAGE, iid, seed 2",
             "FSL-SAGE, iid, seed 3"]  # fmt: skip
    runs = page.split('<section id="runs">')[1]
    assert re.findall(r"<summary>(.*?) <span", runs) == names
    assert re.findall(r'<tr><td class="text">(.*?)</td>', runs) == names
    assert re.findall(r'"name":"(.*?)"', page.split('<section id="curves">')[1]) == names


def test_what_runs_were_made_with_is_said_where_it_is_known(page):
    assert page.count("<h3>Made with</h3>") == 1
    assert "<li>commit = 1234567</li>" in page
    summary = page.split('id="made-with"')[1].split("</section>")[0]
    assert "2.9.0" in summary
    assert "fsl-sage run" not in summary
    assert "&lt;script&gt;" in summary


def test_what_others_wrote_is_text(page):
    assert NASTY not in page
    assert "OSError: &lt;script&gt;" in page
    assert "cut = &lt;script&gt;" in page
    assert "my &amp; results" in page


def test_every_picture_has_words(page):
    images = [attributes for tag, attributes in Page(page).elements if tag == "img"]
    assert len(images) == 5
    assert all(image["alt"] for image in images)
    assert page.count("<figcaption>") == len(images)


@pytest.mark.slow
def test_runs_with_a_clock_or_faults_have_the_table_of_three_protocols(tmp_path):
    made = {"virtual_seconds": 1800.0, "virtual_client_joules": 1000.0}
    make_run(tmp_path, [0.5, 0.75], seed=1, row=made, run_name="plain")
    make_run(tmp_path, [0.5, 0.7], seed=1, row=made, run_name="lost",
             **{"faults.lost-clients": 0.25})  # fmt: skip
    runs = read_runs(tmp_path)
    page = report_page(tmp_path, runs, compare(rows_of(runs), target=0.7, mean_of=1), 100.0, NOW)
    table = page.split('<h3 id="protocols">')[1].split("</table>")[0]
    assert "hours to 70 %" in table
    assert "points lost: 25 % of clients lost" in table
    assert re.findall(r"<td>([^<]*)</td>", table)[-1] == "5.00"


def test_other_runs_have_no_such_table(page):
    assert 'id="protocols"' not in page
