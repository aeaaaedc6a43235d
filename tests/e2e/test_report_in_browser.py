"""The report, opened in a real browser."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fsl_sage_flwr.cli import main

from ..browser import chromium
from ..made_runs import make_run

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results")
    for seed in (1, 2):
        for name, rate in (("fed_avg", 3.0), ("fsl_sage", 1.0)):
            row = {"up_client_half_bytes": 1000, "alignment_cosine": 0.5}
            make_run(root, [0.3, 0.6, 0.8 + seed / 100], algorithm=name, seed=seed,
                     mib_a_round=rate, row=row)  # fmt: skip
    make_run(root, [0.2], seed=3, completed=False, status="OSError: <b>disk</b>")
    assert main(["report", str(root)]) == 0
    return root / "report.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("chromium")) as started:
        yield started


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_is_whole_in_a_browser(browser: Any, report: Path, scheme: str) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
    complaints: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.as_uri())
    pictures = page.evaluate(
        """() => [...document.images].map(image => {
            const box = image.getBoundingClientRect();
            return [image.complete, image.naturalWidth, image.naturalHeight, box.width, box.height];
        })"""
    )
    assert len(pictures) == 7
    for complete, *sizes in pictures:
        assert complete
        assert min(sizes) > 100
    assert page.locator("#results tbody tr").count() == 2
    assert page.locator("#results tbody tr").nth(1).inner_text().startswith("FSL-SAGE\t2\t81.50")
    # The pictures are dark on a dark page, and what is drawn in them is not.
    picture = page.locator("figure img").first.screenshot()
    tones = np.asarray(Image.open(BytesIO(picture)).convert("L"))
    assert (np.median(tones) > 200) == (scheme == "light")
    assert np.ptp(tones) > 150
    page.wait_for_selector("#chart .legend")

    # Nothing is wider than the window but what scrolls by itself.
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280

    failed = page.locator("details", has_text="not completed")
    assert failed.locator("p.failed").is_hidden()
    failed.locator("summary").click()
    assert failed.locator("p.failed").inner_text() == "OSError: <b>disk</b>"

    shot = np.asarray(Image.open(BytesIO(page.screenshot(full_page=True))).convert("L"))
    assert shot.shape[0] > 1500
    background = shot[5, 5]
    assert (background > 200) == (scheme == "light")
    assert 0.02 < (np.abs(shot.astype(int) - int(background)) > 40).mean() < 0.98
    assert complaints == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


@pytest.fixture
def page(browser: Any, report: Path) -> Iterator[Any]:
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    opened.goto(report.as_uri())
    opened.wait_for_selector("#chart .legend")
    yield opened
    opened.close()


def shown_curves(page: Any) -> list[str]:
    return page.evaluate(
        "() => chart._fullData.filter(trace => trace.visible === true).map(trace => trace.name)"
    )


def test_the_legend_switches_runs_and_the_pointer_shows_values(page: Any) -> None:
    page.locator("#chart").scroll_into_view_if_needed()
    page.locator("#chart .legendtoggle").first.click()
    page.wait_for_function("() => chart.data.filter(t => t.visible === 'legendonly').length === 1")
    assert len(shown_curves(page)) == 4
    # Other axes leave it off.
    for menu, item in ((0, "test loss"), (1, "communication (MiB)")):
        page.locator("#chart .updatemenu-header").nth(menu).click()
        page.locator("#chart .updatemenu-dropdown-button", has_text=item).click()
        page.wait_for_function(
            "name => [chart.layout.xaxis, chart.layout.yaxis].some(a => a.title.text === name)",
            arg=item,
        )
    assert len(shown_curves(page)) == 4
    box = page.locator("#chart .nsewdrag").bounding_box()
    point = page.evaluate(
        """() => {
            const {xaxis, yaxis} = chart._fullLayout, trace = chart.data[4];
            return [xaxis.l2p(trace.x[0]), yaxis.l2p(trace.y[0])];
        }"""
    )
    page.mouse.move(box["x"] + point[0], box["y"] + point[1])
    page.wait_for_selector("#chart .hoverlayer .hovertext")
    said = page.locator("#chart .hoverlayer .hovertext").first.text_content()
    assert "seed" in said
    assert "communication (MiB)" in said


def test_the_report_can_be_read_without_javascript_and_on_paper(browser: Any, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False, color_scheme="dark")
    page = context.new_page()
    page.goto(report.as_uri())
    page.emulate_media(media="print")
    paper = np.asarray(Image.open(BytesIO(page.screenshot())).convert("L"))
    assert paper[5, 5] == 255
    assert page.locator("#curves").is_hidden()
    page.emulate_media(media="screen")
    assert page.locator("#curves noscript").inner_text() == "The curves need JavaScript."
    page.emulate_media(media="print")
    picture = Image.open(BytesIO(page.locator("figure img").first.screenshot())).convert("L")
    assert np.median(np.asarray(picture)) == 255  # paper is white, whatever the screen
    assert page.locator("h1").inner_text() == report.parent.name
    context.close()
