"""The report in a real browser: it fetches nothing, nothing fails, and it is readable in light and dark, on every screen."""

import base64
import json
import os
import shutil
import time

import numpy as np
import pandas as pd
import pytest

import bayesgmm as bg
from tests.conftest import make_tree, one_chain_elsewhere
from tests.statistics import SEED, rng

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(  # in CI a missing browser is a failure
        not (CHROMIUM and DRIVER) and "CI" not in os.environ, reason="chromium or chromedriver is not installed"
    ),
]
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
NAMES = ["one feature", "two features", "comparison", "several solutions", "posterior of k"]

# contrast of each element's own text with its background by WCAG's definition, the smallest first
CONTRAST = """
const luminance = c => { const [r, g, b] = c.slice(0, 3).map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const parsed = text => { const n = text.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
const behind = element => { for (let e = element; e; e = e.parentElement) {
  const c = parsed(getComputedStyle(e).backgroundColor); if (c[3] === 1) return c; } return [255, 255, 255, 1]; };
const found = [];
for (const element of document.body.querySelectorAll("*")) {
  const own = [...element.childNodes].some(n => n.nodeType === 3 && n.data.trim());
  if (!own || ["SCRIPT", "STYLE", "title"].includes(element.tagName) || !element.getClientRects().length) continue;
  const style = getComputedStyle(element), svg = element instanceof SVGElement;
  const [one, other] = [luminance(parsed(svg ? style.fill : style.color)), luminance(behind(element))];
  const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  found.push([ratio, element.tagName + ": " + element.textContent.trim().slice(0, 40)]);
}
return found.sort((a, b) => a[0] - b[0]);
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory, nuts_tree, faithful_tree, comparison, k_tree, two_small):
    """Files of reports, by their names."""
    folder = tmp_path_factory.mktemp("reports")
    results = {
        "one feature": nuts_tree,
        "two features": faithful_tree,
        "comparison": comparison,
        "several solutions": make_tree(two_small, change=one_chain_elsewhere),
        "posterior of k": k_tree,
        "four features": bg.fit(_four_features(), 3, method="gibbs", draws=250, random_seed=SEED, progressbar=False),
    }
    return {name: bg.report(result, folder / f"{name}.html") for name, result in results.items()}


def _four_features():
    means = np.array([[0, 0, 0, 0], [5, 5, 5, 5], [10, 0, 10, 0]])
    x = means[np.arange(150) % 3] + rng(10).normal(size=(150, 4))
    return pd.DataFrame(x, columns=["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"])


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for each in (*OPTIONS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(each)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def show(chromium, pages):
    """Open a report at a width, in a colour scheme, with or without JavaScript."""
    from selenium.webdriver.support.ui import WebDriverWait

    def opened(name, *, width=1280, scheme="light", mobile=False, script=True):
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": mobile}
        features = [{"name": "prefers-color-scheme", "value": scheme}, {"name": "prefers-reduced-motion", "value": "reduce"}]
        chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": features})
        chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not script})
        for log in ("browser", "performance"):
            chromium.get_log(log)
        chromium.get("about:blank")
        chromium.get(pages[name].as_uri())
        ready = "return [location.href, document.readyState]"  # on a busy machine `get` returns in the middle of a page
        WebDriverWait(chromium, 60).until(lambda _: chromium.execute_script(ready) == [pages[name].as_uri(), "complete"])
        return chromium

    yield opened
    chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_errors_and_no_requests(show, name, scheme):
    browser = show(name, scheme=scheme)
    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    addresses = [
        each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"
    ]  # fmt: skip
    assert any(address.startswith("file:") for address in addresses)
    assert all(address.startswith(("data:", "about:")) or address == browser.current_url for address in addresses)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out(show, name, scheme):
    browser = show(name, scheme=scheme)
    browser.execute_script("for (const each of document.querySelectorAll('details')) each.open = true")
    found = browser.execute_script(CONTRAST)
    assert len(found) > 100
    assert found[0][0] >= 4.5, found[:5]
    background = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(20, 24, 30)")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [320, 390, 700, 1280])
def test_only_tables_and_pictures_scroll_sideways(show, name, width):
    browser = show(name, width=width, mobile=width < 700)
    browser.execute_script("for (const each of document.querySelectorAll('details')) each.open = true")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script(
        "return [...document.querySelectorAll('table, svg, pre')].every(each => each.closest('.scroll'))"
    )


@pytest.mark.parametrize("name", ["two features", "four features", "comparison"])
def test_tables_fit_a_screen_and_scroll_in_a_box_of_their_own_on_a_phone(show, name):
    overflowing = (
        "return [...document.querySelectorAll('.scroll:has(> table)')].filter(each => each.scrollWidth > each.clientWidth)"
    )
    assert show(name, width=1200).execute_script(overflowing) == []
    boxes = show(name, width=390, mobile=True).execute_script(overflowing)
    assert boxes
    for box in boxes:
        assert (box.get_attribute("role"), box.get_attribute("tabindex")) == ("region", "0")


LANDMARKS = ("main", "navigation", "banner", "contentinfo")


def heard(browser):
    """Accessible roles and names."""
    nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    return [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node.get("ignored")]


def pictures_and_landmarks(roles):
    """Names of the pictures, and how often each landmark stands on the page."""
    pictures = [said for role, said in roles if role in ("image", "img", "graphics-document")]
    return pictures, [sum(role == landmark for role, _ in roles) for landmark in LANDMARKS]


@pytest.mark.parametrize("name", NAMES)
def test_pictures_and_headings_as_a_reader_hears_them(show, name):
    browser = show(name)
    drawn = browser.execute_script("return document.querySelectorAll('svg').length")
    assert drawn > 0
    end = time.monotonic() + 30
    while time.monotonic() < end:  # the browser builds its accessibility tree after the page, part by part
        roles = heard(browser)
        pictures, landmarks = pictures_and_landmarks(roles)
        if (len(pictures), landmarks) == (drawn, [1, 1, 1, 1]):
            break
        time.sleep(0.1)
    assert (len(pictures), landmarks) == (drawn, [1, 1, 1, 1])
    assert all(len(said) > 20 for said in pictures)
    assert all(said for role, said in roles if role in ("heading", "link", "region"))
    regions = [said for role, said in roles if role == "region"]
    assert len(regions) == len(set(regions))
    assert browser.execute_script("return document.documentElement.lang") == "en"


def test_by_keyboard(show):
    from selenium.webdriver.common.keys import Keys

    browser = show("one feature")
    browser.switch_to.active_element.send_keys(Keys.TAB)
    skip = browser.switch_to.active_element
    assert skip.text == "Skip to the answer"
    assert skip.location["y"] >= 0
    assert browser.execute_script("return getComputedStyle(arguments[0]).outlineStyle", skip) == "solid"
    skip.send_keys(Keys.ENTER)
    assert browser.switch_to.active_element.get_attribute("id") == "main"
    browser.switch_to.active_element.send_keys(Keys.TAB)
    assert browser.execute_script("return document.activeElement.closest('main') !== null")


@pytest.mark.parametrize("script", [True, False])
def test_a_picture_can_be_enlarged_and_closed(show, script):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    browser = show("one feature", script=script)
    figure = browser.find_element(By.ID, "figure-density")
    before = figure.find_element(By.TAG_NAME, "svg").size["width"]
    figure.find_element(By.CLASS_NAME, "enlarge").send_keys(Keys.ENTER)
    assert figure.find_element(By.TAG_NAME, "svg").size["width"] > 1.3 * before
    close = figure.find_element(By.CLASS_NAME, "close")
    if script:
        browser.find_element(By.TAG_NAME, "body").send_keys(Keys.ESCAPE)
    else:
        close.send_keys(Keys.ENTER)
    assert figure.find_element(By.TAG_NAME, "svg").size["width"] == before


@pytest.mark.parametrize("name", NAMES)
def test_it_prints_in_black_on_white(show, name):
    browser = show(name, scheme="dark")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    size = {"width": 680, "height": 800, "deviceScaleFactor": 1, "mobile": False}  # A4 less its margins
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 680
    assert browser.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.execute_script("return getComputedStyle(document.querySelector('nav')).display") == "none"
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True, "preferCSSPageSize": True})
    pdf = base64.b64decode(printed["data"])
    assert pdf.startswith(b"%PDF")
    assert 2 <= pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") <= 20


def shown(browser, selector):
    """Elements of the density's picture, which is scrolled to the middle of the window."""
    from selenium.webdriver.common.by import By

    script = "arguments[0].scrollIntoView({ block: 'center', behavior: 'instant' })"
    browser.execute_script(script, browser.find_element(By.ID, "figure-density"))
    return browser.find_elements(By.CSS_SELECTOR, f"#figure-density {selector}")


def test_the_pointer_tells_values_and_an_observation_is_seen_in_every_picture(show, faithful_tree):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By

    browser = show("two features")
    points = shown(browser, "[data-obs]")
    assert len(points) == len(faithful_tree["observed_data"]["x"])
    ActionChains(browser).move_to_element(points[5]).click().perform()
    position = browser.find_element(By.CLASS_NAME, "picked").get_attribute("data-obs")
    eruptions, waiting = faithful_tree["observed_data"]["x"].values[int(position)]
    told = browser.find_element(By.CLASS_NAME, "tip").text
    assert told.startswith(f"observation {position}: eruptions {eruptions:.2f}"[:-1])
    assert f"waiting {waiting:.1f}"[:-1] in told
    script = "return new Set([...document.querySelectorAll('.picked')].map(e => e.closest('figure').id)).size"
    assert browser.execute_script(script) >= 2
    (svg,) = shown(browser, "svg")
    corner = {"xoffset": -svg.size["width"] // 2 + 90, "yoffset": -svg.size["height"] // 2 + 30}
    ActionChains(browser).move_to_element_with_offset(svg, *corner.values()).perform()
    assert browser.find_element(By.CLASS_NAME, "tip").text.startswith("eruptions ")


def test_one_cluster_is_shown_in_every_picture(show):
    from selenium.webdriver.common.by import By

    browser = show("two features")
    buttons = browser.find_elements(By.CSS_SELECTOR, ".picker button")
    assert [each.text for each in buttons] == ["0", "1"]
    aside = "return [...document.querySelectorAll('.aside')].map(each => each.dataset.cluster)"
    buttons[1].click()
    assert set(browser.execute_script(aside)) == {"0"}
    figures = "return new Set([...document.querySelectorAll('.aside')].map(e => e.closest('figure').id)).size"
    assert browser.execute_script(figures) >= 3
    assert buttons[1].get_attribute("aria-pressed") == "true"
    buttons[1].click()
    assert browser.execute_script(aside) == []


def test_an_enlarged_picture_can_be_zoomed(show):
    from selenium.webdriver.common.by import By

    browser = show("one feature")
    figure = browser.find_element(By.ID, "figure-density")
    wheel = (
        "arguments[0].dispatchEvent(new WheelEvent('wheel', { deltaY: -1, clientX: 500, clientY: 400, cancelable: true }))"
    )
    (svg,) = shown(browser, "svg")
    whole = svg.get_dom_attribute("viewBox")
    browser.execute_script(wheel, svg)
    assert svg.get_dom_attribute("viewBox") == whole  # the wheel scrolls the page instead
    figure.find_element(By.CLASS_NAME, "enlarge").click()
    browser.execute_script(wheel, svg)
    width, before = (float(each.split()[2]) for each in (svg.get_dom_attribute("viewBox"), whole))
    assert width == pytest.approx(before / 1.2)
    browser.execute_script("arguments[0].dispatchEvent(new MouseEvent('dblclick'))", svg)
    assert svg.get_dom_attribute("viewBox") == whole


def test_without_a_script_there_is_nothing_that_does_not_work(show):
    from selenium.webdriver.common.by import By

    browser = show("two features", script=False)
    assert not browser.find_elements(By.CSS_SELECTOR, ".picker, .tip")
