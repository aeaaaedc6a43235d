"""The report, opened in a real browser."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fsl_sage_flwr.simulations.cli import main

from ..browser import chromium
from ..made_runs import make_run

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results")
    for seed in (1, 2):
        for name, rate in (("fed_avg", 3.0), ("fsl_sage", 1.0)):
            make_run(root, [0.3, 0.6, 0.8 + seed / 100], algorithm=name, seed=seed,
                     mib_a_round=rate)  # fmt: skip
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
    assert len(pictures) == 5
    for complete, *sizes in pictures:
        assert complete
        assert min(sizes) > 100
    assert page.locator("#results tbody tr").count() == 2
    assert page.locator("#results tbody tr").nth(1).inner_text().startswith("FSL-SAGE\t2\t81.50")
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


def test_the_report_can_be_read_without_javascript_and_on_paper(browser: Any, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False, color_scheme="dark")
    page = context.new_page()
    page.goto(report.as_uri())
    page.emulate_media(media="print")
    paper = np.asarray(Image.open(BytesIO(page.screenshot())).convert("L"))
    assert paper[5, 5] == 255
    assert page.locator("h1").inner_text() == report.parent.name
    context.close()
