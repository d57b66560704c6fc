"""The pictures of docs/site.md: the site of the shipped zoo in Chromium, as somebody uses it.

    python docs/site/pictures.py

Needs Chromium with its driver, and selenium (pip install selenium).
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.support.select import Select

from atlas.site.pages import site

HERE = Path(__file__).parent


def main() -> None:
    """Write the site of the shipped registry, and take the pictures."""
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--hide-scrollbars", "--window-size=1250,900"):
        options.add_argument(argument)
    with tempfile.TemporaryDirectory() as folder, webdriver.Chrome(options=options) as page:
        out = Path(folder) / "site"
        site([HERE.parents[1] / "registry"], out)
        page.get((out / "index.html").as_uri())
        page.find_element("id", "filter").send_keys("alignment banking77")
        page.find_element("xpath", "//button[.='value']").click()
        page.find_element("xpath", "//button[.='value']").click()
        page.save_screenshot(HERE / "listing.png")
        page.get((out / "graph.html").as_uri())
        Select(page.find_element("id", "from")).select_by_visible_text("digits-conv")
        Select(page.find_element("id", "to")).select_by_visible_text("digits-mlp-s1")
        page.set_window_size(1250, 1200)
        page.save_screenshot(HERE / "graph.png")


if __name__ == "__main__":
    main()
