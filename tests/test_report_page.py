"""The report as people see it: in a real browser, if the machine has one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from browser import Browser, Scheme, headless_browser
from report_runs import BAD_NAME, chain, hostile_run, small_run

from onnx_dnscp.model.runtime import can_train
from onnx_dnscp.report.page import make_page
from onnx_dnscp.report.render import render

PHONE = 375  # pixels
READABLE = 4.5  # contrast of text, WCAG 2 level AA
pytestmark = pytest.mark.skipif(not can_train(), reason="the pages are those of runs with training")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with headless_browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def page(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run that has ended."""
    return small_run(tmp_path_factory.mktemp("seen")) / "report.html"


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That of an unfinished run of a network with 120 groups."""
    path = tmp_path_factory.mktemp("large") / "report.html"
    path.write_text(render(make_page(chain(120, skip=4))), encoding="utf-8")
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, 1280])
def test_a_page_is_quiet_loads_nothing_and_fits(
    width: int, scheme: Scheme, browser: Browser, page: Path, large: Path
) -> None:
    for one in (page, large):
        browser.open(one, width=width, scheme=scheme)
        assert browser.complaints() == []
        assert browser.requests() == [one.as_uri()]
        assert browser.run("return document.documentElement.scrollWidth") <= width


def test_everything_is_on_the_page(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.texts("h1") == ["digits-resnet.onnx"]
    assert browser.texts("dt")[:6] == ["Accuracy", "Params", "MACs", "File size", "Latency", "Verification error"]
    sections = ["Channels per group", "When channels fell and came back", "Over the training"]
    sections += ["The network, as groups of channels", "All groups", "To do it again"]
    assert browser.texts("h2")[1:] == sections
    assert len(browser.texts(".widths li")) == 5
    assert len(browser.texts(".moves li")) == 1 + 5
    assert browser.run("return document.querySelectorAll('.moves .came-back').length") > 0
    assert [text.split()[0] for text in browser.texts("figcaption b")] == ["Loss", "Pruned", "Accuracy", "Learning"]
    assert browser.texts("pre")[0].startswith("onnx-dnscp prune digits-resnet.onnx -o out.onnx ")
    assert "onnxruntime-training-cpu" in browser.find(".facts").text


def test_pictures_say_in_words_what_they_show(browser: Browser, page: Path) -> None:
    browser.open(page)
    silent = "svg:not([aria-hidden]):not([role=img][aria-label]):not(svg svg)"
    assert browser.run("return document.querySelectorAll(arguments[0]).length", silent) == 0
    label = browser.find(".widths svg").get_attribute("aria-label")
    assert label.startswith("Group 0: 32 channels before, ")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark(scheme: Scheme, browser: Browser, page: Path) -> None:
    browser.open(page, scheme=scheme)
    assert (luminance(color(browser, "body", "background-color")) < 0.5) == (scheme == "dark")
    texts = (".lead", ".card dt", ".card .note", ".chip.good", ".figures .up", ".figures .down", "td", ".locked small")
    for selector in (*texts, "caption", "nav a"):
        assert contrast(browser, selector) >= READABLE, selector


def test_the_table_sorts_by_keyboard(browser: Browser, page: Path) -> None:
    """A second time turns the order around."""
    browser.open(page)
    browser.run("document.querySelectorAll('#groups thead button')[1].focus()")
    browser.press("\ue007")  # enter
    before = [int(text) for text in browser.texts("#groups tbody td:nth-child(2)")]
    assert before == sorted(before) == [10, 32, 32, 64, 64, 64]
    assert browser.find("#groups th:nth-child(2)").get_attribute("aria-sort") == "ascending"
    browser.press(" ")
    assert [int(text) for text in browser.texts("#groups tbody td:nth-child(2)")] == before[::-1]
    browser.run("document.querySelectorAll('#groups thead button')[8].click()")
    readers = browser.texts("#groups tbody td:nth-child(9)")
    assert readers == sorted(readers)
    assert browser.run("return document.querySelectorAll('[aria-sort=none]').length") == 10


def test_the_table_sorts_numbers_as_numbers(browser: Browser, large: Path) -> None:
    browser.open(large)
    browser.run("document.querySelector('#groups thead button').click()")
    assert browser.texts("#groups tbody th") == ["Locked 0", *(f"Group {n}" for n in reversed(range(120)))]


def test_the_table_filters(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.find("#filter").send_keys("C1.CONV")
    assert browser.texts("#groups tbody th") == ["Group 3", "Group 4"]
    assert browser.texts("#shown") == ["2 of 6"]
    browser.press("\ue007")
    assert browser.driver.current_url == page.as_uri(), "a filter is sent nowhere"
    browser.find("#filter").clear()
    browser.find("#filter").send_keys("group 3")
    assert browser.texts("#groups tbody th") == ["Group 3"]
    browser.find("#filter").clear()
    browser.find("#kind option[value=locked]").click()
    assert browser.texts("#groups tbody th") == ["Locked 0"]


def test_a_chosen_box_says_why_it_is_locked(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.run("document.querySelector('[data-key=l0]').focus()")
    browser.press("\ue007")
    assert browser.texts(".chosen dd")[0] == "graph output 'logits'"
    assert browser.run("return document.querySelectorAll('.arc.lit').length") == 1
    browser.press("\ue00c")  # escape
    assert browser.texts(".chosen dl") == []


def test_long_arcs_of_a_crowded_network_wait_for_their_box(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "dense.html").write_text(render(make_page(chain(60, skip=60))), encoding="utf-8")
    browser.open(tmp_path / "dense.html")
    shown = "return [...document.querySelectorAll('.arc.far')].filter(a => getComputedStyle(a).visibility != 'hidden')"
    assert browser.run(f"{shown}.length") == 0
    browser.run("document.querySelector('[data-key=g0]').click()")
    assert browser.run(f"{shown}.length") > 0


def test_curves_are_read_out_by_keyboard(browser: Browser, page: Path) -> None:
    browser.open(page)
    last = browser.texts("figcaption output")
    browser.run("document.querySelector('.chart').focus()")
    browser.press("\ue014")  # right
    read = browser.texts("figcaption output")
    assert all(text.startswith("step ") for text in read)
    browser.run("document.activeElement.blur()")
    assert browser.texts("figcaption output") == last


def test_paper_shows_what_the_screen_scrolls(browser: Browser, large: Path) -> None:
    browser.open(large, media="print", scheme="dark", width=794)
    assert luminance(color(browser, "body", "background-color")) > 0.9
    scrolls = "return [...document.querySelectorAll('.scroll')].map(e => getComputedStyle(e).overflowY)"
    assert set(browser.run(scrolls)) == {"visible"}
    assert browser.texts(".filter") == []


def test_names_that_would_like_to_be_html_are_harmless(
    browser: Browser, tmp_path: Path, tiny_model: onnx.ModelProto
) -> None:
    page = hostile_run(tiny_model, tmp_path) / "report.html"
    for width in (PHONE, 1280):
        browser.open(page, width=width)
        assert browser.complaints() == []
        assert browser.requests() == [page.as_uri()]
        assert browser.run("return document.documentElement.scrollWidth") <= width
    browser.run("document.querySelectorAll('button').forEach(button => button.click())")
    assert browser.run("return [window.hacked, document.images.length]") == [None, 0]
    assert browser.texts("h1") == ["<i>it's ${7*7} {{7*7}}.onnx"]
    assert BAD_NAME.replace("\u202e", "\\u202e") + "conv2" in browser.texts("#groups tbody td:nth-child(9)")


def test_the_browser_runs_no_other_script(browser: Browser, page: Path) -> None:
    """Even one that got onto the page: the content security policy knows the page's own by its hash."""
    browser.open(page)
    browser.run(
        "const added = document.createElement('script'); added.textContent = 'window.hacked = 1';"
        "document.body.append(added); const image = new Image(); image.src = 'https://127.0.0.1:9/x.png';"
        "document.body.append(image)"
    )
    assert browser.run("return window.hacked") is None
    refused = [text for text in browser.complaints() if "Content Security Policy" in text]
    assert len(refused) == 2
    assert any("https://127.0.0.1:9/x.png" in text for text in refused)


# --- colours ----------------------------------------------------------------------------------------------------------


def color(browser: Browser, selector: str, name: str) -> list[float]:
    """Red, green and blue, 0..255, of an element or the first one around it that is not transparent."""
    script = """
    for (let e = document.querySelector(arguments[0]); e; e = e.parentElement) {
      const parts = getComputedStyle(e)[arguments[1]].match(/[\\d.]+/g).map(Number);
      if (parts.length < 4 || parts[3] > 0) return parts.slice(0, 3);
    }"""
    return list(browser.run(script, selector, name))


def luminance(rgb: list[float]) -> float:
    """Relative luminance, 0..1. Source: WCAG 2.2."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in rgb)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(browser: Browser, selector: str) -> float:
    """Of an element's text against what is behind it. Source: WCAG 2.2."""
    both = sorted(luminance(color(browser, selector, name)) for name in ("color", "background-color"))
    return (both[1] + 0.05) / (both[0] + 0.05)
