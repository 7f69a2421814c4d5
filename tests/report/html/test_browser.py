"""The page in a real browser, without a network: `pytest -m browser`, where there is a Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.report.factory import make_run, place
from tests.report.html.pages import make_page
from tests.report.html.runs import make_full, make_rough, make_sweep, make_tuned, write_curves

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
LONG = "ring[rho=0.1,damping=0.001,weight_decay=0.05]"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    api = pytest.importorskip("playwright.sync_api", reason="needs the extra `browser`")
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser on this machine: looked for {', '.join(NAMES)}")
    with api.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pages of a rough experiment, a tuned one, two workloads, a sweep, and rows with long names."""
    root = tmp_path_factory.mktemp("pages")
    make_rough(root / "rough")
    make_tuned(root / "tuned")
    make_sweep(root / "sweep")
    make_full(root / "a", ("adamw", LONG), model="test_vit")
    make_full(root / "b", ("adamw", LONG), model="test_resnet")
    make_run(root / "b", LONG, 1, target={"step": None, "time_s": None})
    write_curves(place(root / "b", LONG, 1), 1)
    texts = {name: make_page(root / name) for name in ("rough", "tuned", "sweep")}
    texts["several"] = make_page(root / "a", root / "b")
    for name, text in texts.items():
        (root / f"{name}.html").write_text(text, encoding="utf-8")
    return {name: root / f"{name}.html" for name in texts}


class Opened:
    """A page with what it said and asked for."""

    def __init__(self, browser: Browser, path: Path, **options: Any) -> None:
        self.said: list[str] = []
        width = options.pop("width", 1280)
        context = browser.new_context(viewport={"width": width, "height": 900}, offline=True, **options)
        self.page: Page = context.new_page()
        self.page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: self.said.append(f"dialog: {dialog.message}"))
        self.page.on("request", lambda request: self._asked(request.url))
        self.page.goto(path.as_uri())
        if options.get("java_script_enabled", True):
            self.page.wait_for_selector("html[data-drawn=yes]", timeout=60_000)

    def _asked(self, url: str) -> None:
        if not url.startswith(("file:", "data:", "blob:")):
            self.said.append(f"request: {url}")

    def figure(self, title: str) -> Any:
        return self.page.locator("figure", has=self.page.locator("figcaption strong", has_text=title)).first


LOOKS = {
    "light": ("rough", "tuned", "several", "sweep"),
    "dark": ("rough", "sweep"),
    "phone": ("rough", "tuned", "several"),
}


@pytest.mark.parametrize(("look", "name"), [(look, name) for look, names in LOOKS.items() for name in names])
def test_it_loads_alone_and_nothing_overflows(browser: Browser, pages: dict[str, Path], name: str, look: str) -> None:
    scheme, width = ("dark" if look == "dark" else "light"), (390 if look == "phone" else 1280)
    opened = Opened(browser, pages[name], width=width, color_scheme=scheme)
    page = opened.page
    assert opened.said == []
    assert page.evaluate("window.hacked") is None
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    plots = page.locator(".plot:visible")
    assert page.locator(".plot:visible .main-svg").count() >= plots.count() > 0
    overlong = page.eval_on_selector_all(
        ".plot .main-svg", "all => all.filter(one => one.getBoundingClientRect().right > innerWidth + 1).length"
    )
    assert overlong == 0
    # Text has the contrast of WCAG AA in either theme.
    assert contrast(page, "body") >= 4.5
    assert contrast(page, "figcaption span") >= 4.5
    page.context.close()


def contrast(page: Page, selector: str) -> float:
    ink = page.eval_on_selector(selector, "one => getComputedStyle(one).color")
    paper = page.eval_on_selector("body", "one => getComputedStyle(one).backgroundColor")
    light, dark = sorted((luminance(ink), luminance(paper)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [float(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_tables_sort_by_mouse_and_keyboard(browser: Browser, pages: dict[str, Path]) -> None:
    page = Opened(browser, pages["tuned"]).page
    table = page.locator("#results table").first

    def labels() -> list[str]:
        return [text.split("\n")[0] for text in table.locator("tbody th").all_inner_texts()]

    assert labels() == ["adamw", "ring"]
    head = table.locator("thead th", has_text="test accuracy")
    head.locator("button").click()
    assert (labels(), head.get_attribute("aria-sort")) == (["adamw", "ring"], "ascending")
    head.locator("button").press("Enter")
    assert (labels(), head.get_attribute("aria-sort")) == (["ring", "adamw"], "descending")
    head.locator("button").press("Space")
    assert (labels(), head.get_attribute("aria-sort")) == (["adamw", "ring"], None)
    page.context.close()


def test_figures_switch_axes_and_show_seeds(browser: Browser, pages: dict[str, Path]) -> None:
    opened = Opened(browser, pages["tuned"])
    figure = opened.figure("Validation accuracy")
    plot = figure.locator(".plot")

    def look(expression: str) -> Any:
        return plot.evaluate(f"plot => {expression}")

    assert look("plot.layout.xaxis.title.text") == "epochs"
    assert look("Math.max(...plot.data.at(-1).x)") == pytest.approx(3)
    figure.get_by_role("button", name="training time, s").click()
    assert look("plot.layout.xaxis.title.text") == "training time, s"
    assert look("Math.max(...plot.data.at(-1).x)") == pytest.approx(9.1)
    figure.get_by_label("log vertical").check()
    assert look("plot.layout.yaxis.type") == "log"
    seeds = "plot.data.filter(t => t.meta === 'seed').map(t => t.opacity)"
    assert set(look(seeds)) == {0}
    # Hovering shows the seeds of the row that is hovered, and of no other.
    box = plot.locator(".scatterlayer .trace.scatter .points path").last.bounding_box()
    assert box is not None
    opened.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    opened.page.wait_for_function("document.querySelector('.hoverlayer .hovertext') !== null")
    assert "seed 0" in str(plot.locator(".hovertext").text_content())
    assert sorted(set(look(seeds))) == [0, 0.6]
    opened.page.mouse.move(2, 2)
    figure.get_by_label("single seeds").check()
    assert set(look(seeds)) == {0.6}
    figure.get_by_role("checkbox", name="bands").uncheck()
    assert look("plot.data.filter(t => t.fill && t.visible !== false).length") == 0
    before = look("plot.data.at(-1).y")
    figure.get_by_label("smoothing").select_option("3")
    assert look("plot.data.at(-1).y")[4] == pytest.approx(sum(before[3:6]) / 3)
    figure.get_by_role("button", name="ring", exact=True).click()
    assert look("plot.data.filter(t => t.visible !== false && t.legendgroup === 'row1').length") == 0
    assert opened.said == []
    opened.page.context.close()


def test_a_run_that_diverged_is_seen_on_a_logarithmic_axis(browser: Browser, pages: dict[str, Path]) -> None:
    opened = Opened(browser, pages["rough"])
    figure = opened.figure("Training loss")
    plot = figure.locator(".plot")
    highest = "Math.max(...plot.data.flatMap(t => t.y).filter(v => v !== null))"
    assert plot.evaluate(f"plot => plot._fullLayout.yaxis.range[1] < {highest} / 100")
    figure.get_by_label("log vertical").check()
    assert plot.evaluate(f"plot => plot._fullLayout.yaxis.range[1] >= Math.log10({highest})")
    figure.get_by_label("log vertical").uncheck()
    assert plot.evaluate(f"plot => plot._fullLayout.yaxis.range[1] < {highest} / 100")
    assert opened.said == []
    opened.page.context.close()


def test_the_theme_is_the_readers(browser: Browser, pages: dict[str, Path]) -> None:
    page = Opened(browser, pages["tuned"], color_scheme="light").page
    paper = "getComputedStyle(document.body).backgroundColor"
    line = "document.querySelector('#curves .plot').layout.font.color"
    light = page.evaluate(paper), page.evaluate(line)
    page.get_by_role("button", name="dark", exact=True).click()
    dark = page.evaluate(paper), page.evaluate(line)
    assert all(one != other for one, other in zip(light, dark, strict=True))
    page.emulate_media(color_scheme="dark")
    page.get_by_role("button", name="auto", exact=True).click()
    assert (page.evaluate(paper), page.evaluate(line)) == dark
    page.context.close()


def test_the_keyboard_gets_everywhere(browser: Browser, pages: dict[str, Path]) -> None:
    page = Opened(browser, pages["tuned"]).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.className || document.activeElement.tagName"))
    assert {"scroll", "sort"} <= reached
    summary = page.locator("summary", has_text="Validation loss")
    summary.press("Enter")
    page.wait_for_selector("details[open] .main-svg")
    page.context.close()


def test_it_prints(browser: Browser, pages: dict[str, Path], tmp_path: Path) -> None:
    opened = Opened(browser, pages["tuned"], color_scheme="dark")
    printed = opened.page.pdf(path=str(tmp_path / "page.pdf"))
    assert printed.startswith(b"%PDF")
    assert len(printed) > 30_000
    assert opened.said == []
    opened.page.context.close()


def test_it_is_useful_without_javascript(browser: Browser, pages: dict[str, Path]) -> None:
    page = Opened(browser, pages["rough"], java_script_enabled=False).page
    assert page.locator("#results tbody tr").count() == 4
    assert page.locator(".needs:visible").count() == page.locator(".plot:visible").count() > 3
    assert page.locator(".tools:visible, .sort:visible, .theme:visible").count() == 0
    page.context.close()
