"""The files of pictures: their text, their bytes, their colours."""

import xml.etree.ElementTree as ElementTree
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from fsl_sage_flwr.analysis import load_results
from fsl_sage_flwr.analysis.comparison import compare
from fsl_sage_flwr.analysis.pictures import KINDS, draw, encoded
from fsl_sage_flwr.analysis.pictures.dark import fit_to_scheme

from ....made_runs import make_run
from ....rows import rows
from .compared import comparison_for


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
