"""A report is one page that needs nothing else."""

import io
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from ornstein.core.errors import UsageError
from ornstein.pipelines.planes import three_planes
from ornstein.pipelines.report import Report, figure, png

VOID = {"meta", "img", "br", "link", "hr"}


class Checker(HTMLParser):
    """Notes unbalanced tags and addresses."""

    def __init__(self):
        super().__init__()
        self.open, self.addresses, self.tags = [], [], set()

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def page():
    made = figure(3, 2)
    made.subplots().plot([0, 1], [1, 0])
    report = Report("A <title> & more", medical=True)
    report.section("One & two").text("5 < 6").picture(np.eye(8), 'a "caption" <b>').picture(made, "a plot")
    report.table([["psnr", 31.23456], ["ssim", 0.9]], ["measure", "value"]).table(
        {"path": "<&>", "n": 3, "none": None, "flag": True}
    )
    report.warnings(["watch <out>"])
    return report.html()


def test_page_is_balanced_and_loads_nothing(page):
    checker = Checker()
    checker.feed(page)
    assert checker.open == [] and not checker.tags & {"script", "link", "iframe"}
    assert len(checker.addresses) == 2 and all(a.startswith("data:image/png;base64,") for a in checker.addresses)
    assert "http" not in page and "url(" not in page


def test_a_column_of_numbers_stays_one_where_some_are_missing():
    page = Report("t").table([["a", 1.5, None], ["b", None, None]], ["name", "psnr", "none"]).html()
    assert page.count('class="number"') == 3 and '<td class="number">1.5</td>' in page


def test_text_is_escaped(page):
    assert "<title>A &lt;title&gt; &amp; more</title>" in page and "&lt;out&gt;" in page and "<b>" not in page


def test_numbers_have_four_figures_and_medical_pages_say_research_only(page):
    assert "31.23<" in page and "31.23456" not in page
    assert "Research use only, not for clinical decisions" in page
    assert "Research use only" not in Report("x").html()


def test_page_knows_light_and_dark(page):
    assert "prefers-color-scheme: dark" in page and "color-scheme: light dark" in page


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (5, 7, 4)])
def test_arrays_become_pictures_of_their_size(shape):
    from matplotlib.image import imread

    generator = np.random.default_rng(0)
    array = generator.random(shape)
    read = imread(io.BytesIO(png(array)))
    assert read.shape[:2] == shape[:2]
    if len(shape) == 2:
        assert read[..., 0].min() == 0 and read[..., 0].max() == 1
    else:
        np.testing.assert_allclose(read[..., :3], array[..., :3], atol=0.003)  # half a step of 1/255, rounded


def test_the_same_content_gives_the_same_page(page):
    assert png(np.eye(3)) == png(np.eye(3))


def test_existing_report_is_kept_unless_overwritten(tmp_path):
    Report("first").save(tmp_path / "r.html")
    with pytest.raises(UsageError, match="exists"):
        Report("second").save(tmp_path / "r.html")
    Report("second").save(tmp_path / "r.html", overwrite=True)
    assert "second" in (tmp_path / "r.html").read_text()


def test_building_a_report_needs_no_window_system():
    code = (
        "from ornstein.pipelines.report import figure, png; import sys; f = figure(2, 2); f.subplots(); png(f);"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_planes_are_upright_however_the_volume_lies():
    volume = np.zeros((10, 12, 14), np.float32)
    volume[2:8, 3:9, 9:12] = 1  # off the centre, towards superior
    volume[5, 3:6, 10] = 3
    upright = three_planes([volume], np.diag([1, 1, 1, 1.0]), ["a"])
    flipped = np.diag([-1.0, 1, 1, 1])
    flipped[0, 3] = 9
    turned = three_planes([volume[::-1]], flipped, ["a"])
    permuted_affine = np.array([[0, 0, 1, 0], [1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    permuted = three_planes([volume.transpose(1, 2, 0)], permuted_affine, ["a"])
    shown = [[panel.get_images()[0].get_array() for panel in made.axes[:3]] for made in (upright, turned, permuted)]
    for other in shown[1:]:
        for a, b in zip(shown[0], other, strict=True):
            np.testing.assert_array_equal(a, b)
    sagittal = shown[0][0]
    assert (
        sagittal.shape == (14, 12) and sagittal[9:12].sum() > 0 and sagittal[:9].sum() == 0
    )  # superior rows lie higher


def test_a_slab_is_shown_by_its_slices():
    made = three_planes([np.ones((20, 30, 3))], np.eye(4), ["slab"])
    titles = [panel.get_title() for panel in made.axes[:3]]
    assert [re.sub(r"\D", "", title) for title in titles] == ["0", "1", "2"]
