"""The site in a real browser: filter, sorting, keyboard, routes, small and dark screens, no error on the console."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from atlas.cards.folder import CARD, dump_card
from atlas.cards.kinds import AlignmentCard, Metric
from atlas.cards.space import Space
from atlas.site.pages import site

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
DRIVER = shutil.which("chromedriver") or ""
selenium = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
pytestmark = [
    pytest.mark.skipif(not CHROMIUM or not DRIVER, reason="Chromium and its driver are not installed"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
EVIL = '"><img src=x onerror="document.title=1"><script>document.title=2</script>'
KEEPS = {("a", "b"): 0.9, ("b", "c"): 0.8, ("a", "c"): 0.1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of three spaces, three maps between them and one whose every text is hostile."""
    root = tmp_path_factory.mktemp("site")
    spaces = {name: Space(name, 4, "toy", {"name": name}) for name in "abc"}
    cards = [
        AlignmentCard(f"{a}-{b}", source=spaces[a], target=spaces[b], aligner="linear", metrics=(Metric("r2", keeps),))
        for (a, b), keeps in KEEPS.items()
    ]
    evil = Space("evil", 4, EVIL, {"model": EVIL})
    about = {"description": EVIL, "license": EVIL, "dataset": EVIL, "metrics": (Metric(EVIL, 0.5, dataset=EVIL),)}
    cards.append(AlignmentCard("evil", source=spaces["a"], target=evil, aligner=EVIL, **about))
    for card in cards:
        (root / "zoo" / card.id).mkdir(parents=True)
        (root / "zoo" / card.id / CARD).write_text(dump_card(card))
    site([root / "zoo"], root / "out")
    return root / "out"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    options = selenium.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = selenium.Chrome(options=options, service=selenium.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def at(browser, folder: Path) -> Iterator[Any]:
    """Open a page; afterwards the console must hold no error."""

    def open_page(name: str, width: int = 1200, dark: bool = False) -> Any:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get((folder / name).as_uri())
        return browser

    yield open_page
    assert [entry["message"] for entry in browser.get_log("browser")] == []


def shown(page, table: str) -> list[str]:
    """Return the texts of the rows that can be seen."""
    rows = f"Array.from(document.querySelectorAll('#{table} tbody tr')).filter(row => row.offsetParent)"
    return page.execute_script(f"return {rows}.map(row => row.innerText)")


def names(page) -> list[str]:
    return [row.split("\t")[1] for row in shown(page, "artefacts")]


def test_the_listing_is_filtered_as_one_types(at) -> None:
    page = at("index.html")
    assert len(names(page)) == 4
    page.find_element("id", "filter").send_keys("B linear")
    assert names(page) == ["a-b", "b-c"]
    assert page.find_element("id", "count").text == "2 artefacts"
    page.find_element("id", "filter").clear()
    page.find_element("id", "filter").send_keys("nothing like it")
    assert names(page) == []


def test_columns_are_sorted_by_number_and_by_name(at) -> None:
    page = at("index.html")
    header = "//table[@id='artefacts']//button[normalize-space()='{}']"
    value = page.find_element("xpath", header.format("value"))
    value.click()
    assert names(page) == ["a-c", "b-c", "a-b", "evil"]
    value.click()
    # What has no figure stays last.
    assert names(page) == ["a-b", "b-c", "a-c", "evil"]
    assert value.find_element("xpath", "..").get_attribute("aria-sort") == "descending"
    page.find_element("xpath", header.format("name")).click()
    assert names(page) == ["a-b", "a-c", "b-c", "evil"]


def test_the_keyboard_is_enough(at) -> None:
    page = at("index.html")
    keys = importlib.import_module("selenium.webdriver.common.keys").Keys
    reached = []
    for _ in range(30):
        page.switch_to.active_element.send_keys(keys.TAB)
        element = page.switch_to.active_element
        reached.append((element.tag_name, element.text or element.get_attribute("id")))
        if element.text == "value":
            element.send_keys(keys.ENTER)
    assert names(page)[0] == "a-c"
    assert ("input", "filter") in reached
    assert ("a", "a-b") in reached
    assert len([one for one in reached if one[0] == "button"]) >= 12


def test_a_route_is_picked_and_drawn(at) -> None:
    page = at("graph.html")
    select = importlib.import_module("selenium.webdriver.support.select").Select
    select(page.find_element("id", "from")).select_by_visible_text("a")
    select(page.find_element("id", "to")).select_by_visible_text("c")
    [row] = shown(page, "routes")
    assert "a-b, then b-c" in row
    drawn = page.execute_script(
        "return Array.from(document.querySelectorAll('.line.chosen title')).map(t => t.textContent)"
    )
    assert [one.split(",")[0] for one in drawn] == ["a-b", "b-c"]


@pytest.mark.parametrize("name", ["index.html", "graph.html", "artefacts/alignment-evil.html"])
def test_hostile_text_stays_text(at, name: str) -> None:
    page = at(name)
    assert page.title.endswith(" - Atlas")
    assert page.execute_script("return document.images.length") == 0
    if name.startswith("artefacts"):
        assert EVIL in page.find_element("tag name", "main").text


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", ["index.html", "graph.html", "artefacts/alignment-evil.html"])
def test_small_and_dark_screens_have_it_all(at, name: str, dark: bool) -> None:
    page = at(name, width=360, dark=dark)
    assert page.execute_script("return document.documentElement.scrollWidth") <= 360
    back = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert back == ("rgb(22, 25, 29)" if dark else "rgb(255, 255, 255)")
    assert contrast(page) >= 4.5


def contrast(page) -> float:
    """Return the least contrast of text with what is behind it, as WCAG 2 defines it."""
    return page.execute_script("""
        const channel = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
        const light = rgb => { const [r, g, b] = rgb.match(/[\\d.]+/g).map(Number).map(channel);
                               return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
        const behind = e => { while (e) { const c = getComputedStyle(e).backgroundColor;
                              if (!/, 0\\)$/.test(c)) return c; e = e.parentElement; } return "rgb(255,255,255)"; };
        let least = 21;
        for (const e of document.querySelectorAll("body *")) {
            if (!Array.from(e.childNodes).some(n => n.nodeType === 3 && n.textContent.trim())) continue;
            if (e.closest("svg") || e.tagName === "SCRIPT") continue;
            const [a, b] = [light(getComputedStyle(e).color), light(behind(e))];
            least = Math.min(least, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05));
        }
        return least;
    """)


def test_code_is_copied_or_selected(at) -> None:
    page = at("artefacts/alignment-a-b.html")
    button = page.find_element("css selector", ".code button")
    button.click()
    wait = importlib.import_module("selenium.webdriver.support.ui").WebDriverWait
    wait(page, 5).until(lambda _: button.text in ("Copied", "Selected"))


def test_without_javascript_all_is_there(browser, folder: Path) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get((folder / "graph.html").as_uri())
        assert "a-b, then b-c" in browser.find_element("tag name", "main").text
        assert browser.find_elements("tag name", "path")
        browser.get((folder / "index.html").as_uri())
        assert len(browser.find_elements("css selector", "#artefacts tbody tr")) == 4
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", ["index.html", "graph.html", "artefacts/alignment-a-b.html", "spaces"])
def test_axe_finds_no_barrier(at, folder: Path, name: str, dark: bool) -> None:
    axe = pytest.importorskip("axe_selenium_python", reason="axe-selenium-python, which brings axe-core, is not there")
    path = next((folder / "spaces").iterdir()).relative_to(folder) if name == "spaces" else Path(name)
    page = at(path.as_posix(), dark=dark)
    found = axe.Axe(page)
    found.inject()
    assert [(one["id"], one["nodes"][0]["html"]) for one in found.run()["violations"]] == []
