import re
from html.parser import HTMLParser

import pytest

from fsl_sage_flwr.simulations.comparison import compare
from fsl_sage_flwr.simulations.load_results import read_runs, rows_of
from fsl_sage_flwr.simulations.report import report_page

from ...made_runs import make_run

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
    runs = read_runs(root)
    return report_page(root, runs, compare(rows_of(runs), target=0.6), 100.0)


def test_it_says_what_every_run_was_and_how_to_repeat_it(page):
    repeats = re.findall(r'<pre class="repeat">(.*?)</pre>', page)
    assert len(repeats) == 4
    assert sum("--clients 4" in line and "learning-rate=0.01" in line for line in repeats) == 2
    assert "add <code>--clients N</code>" in page
    assert "4 runs, 3 completed" in page
    assert "align-epochs = 5" in page
    assert page.count("not completed</strong>") == 1


def test_the_table_has_a_row_per_setting(page):
    body = page.split("<tbody>")[1].split("</tbody>")[0]
    assert body.count("<tr>") == 2
    assert "MiB to 60 %" in page


def test_it_asks_for_nothing_outside_itself(page):
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
    assert not {"script", "iframe", "object", "embed"} & {tag for tag, _ in parsed.elements}


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
