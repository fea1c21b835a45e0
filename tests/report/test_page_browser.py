"""The page in a real browser: it works without a word on the console, by mouse and by keyboard."""

from __future__ import annotations

import base64
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fusing import rewrite
from onnx import ModelProto
from pages import EDGES, ODD, everything, large, odd_names, tangled

from trtfuse.report.headline import headline
from trtfuse.report.page import page
from trtfuse.report.script import script
from trtfuse.result.verdict import Verdict

CHROMIUM, DRIVER = (
    shutil.which("chromium") or shutil.which("google-chrome"),
    shutil.which("chromedriver"),
)
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed"
)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
)
#: What a keyboard has to reach, where it is visible.
REACHABLE = "a[href], button, input, select, summary, [tabindex='0']"
#: What stands on what, in relative luminance, as WCAG computes it.
CONTRAST = """
const parse = (text) => (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
  .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
  .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
const behind = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const colour = parse(getComputedStyle(at).backgroundColor);
    if (colour.length < 4 || colour[3] > 0) return colour;
  }
  return [255, 255, 255];
};
return [...document.querySelectorAll("body *:not(svg *)")].filter((element) => element.offsetParent
    && [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
  .map((element) => {
    const [a, b] = [parse(getComputedStyle(element).color), behind(element)].map(light);
    return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), element.textContent.slice(0, 40)];
  }).filter(([ratio]) => ratio < 4.5);
"""

MINUS = "\N{MINUS SIGN}"
#: What is wrong with where things stand in the drawings: a sentence each.
FAULTS = """
const faults = [];
const boxOf = (element) => {
  const { x, y, width, height } = element.getBBox();
  return { left: x, top: y, right: x + width, bottom: y + height, what: element.outerHTML };
};
const overlap = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 0.5
  && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 0.5;
const within = (a, b) => a.left >= b.left && a.right <= b.right
  && a.top >= b.top && a.bottom <= b.bottom;
const over = ({ left, right }, x) => left < x && x < right;
for (const svg of document.querySelectorAll("#fusions svg")) {
  // In full size, since sizes of texts are rounded where they are drawn smaller.
  svg.style.cssText = "max-width: none; flex-shrink: 0";
  const all = (selector) => [...svg.querySelectorAll(selector)].map(boxOf);
  const nodes = all(".box, .pill"), things = [...nodes, ...all("text.shape")];
  things.forEach((a, i) => things.slice(i + 1).forEach((b) => {
    if (overlap(a, b)) faults.push(`${a.what} and ${b.what} overlap`);
  }));
  for (const text of all("g > text")) {
    if (!nodes.some((node) => within(text, node))) faults.push(`${text.what} is not in its box`);
  }
  const { x, y, width, height } = svg.viewBox.baseVal;
  const whole = { left: x, top: y, right: x + width, bottom: y + height };
  for (const thing of [...things, ...all("path, .frame")]) {
    if (!within(thing, whole)) faults.push(`${thing.what} is cut off`);
  }
  for (const frame of all(".frame")) {
    const outside = all(".box").filter((box) => !within(box, frame));
    const inside = all(".pill").filter((pill) => overlap(pill, frame));
    for (const { what } of [...outside, ...inside]) faults.push(`${what} and the frame`);
  }
  for (const wire of svg.querySelectorAll(".wire")) {
    const length = wire.getTotalLength();
    const start = wire.getPointAtLength(0), end = wire.getPointAtLength(length);
    const from = nodes.find((node) => Math.abs(node.bottom - start.y) < 1 && over(node, start.x));
    const to = nodes.find((node) => Math.abs(node.top - 5 - end.y) < 5 && over(node, end.x));
    if (!from || !to || from === to) faults.push(`${wire.outerHTML} leads from or to nothing`);
    const passes = Array.from({ length: length / 2 }, (_, k) => wire.getPointAtLength(2 * k));
    const crossed = things.find((thing) => thing !== from
      && passes.some(({ x, y }) => over(thing, x) && thing.top < y && y < thing.bottom));
    if (crossed) faults.push(`${wire.outerHTML} crosses ${crossed.what}`);
  }
}
return faults;
"""


class Browser:
    """A chromium without a window."""

    def __init__(self, folder: Path) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM or ""
        for flag in (*FLAGS.split(), f"--user-data-dir={folder / 'profile'}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        self.folder = folder

    def open(self, html: str, width: int = 1200, scheme: str = "light") -> None:
        path = self.folder / "page.html"
        path.write_text(html, encoding="utf-8")
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
        media = {"features": [{"name": n, "value": v} for n, v in features.items()]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        self.driver.get(path.as_uri())
        # On a busy machine it comes back before the script at the end has run.
        self.until(lambda: self.js("return document.readyState") == "complete")

    def js(self, script: str, *arguments: object) -> Any:
        return self.driver.execute_script(script, *arguments)

    def all(self, selector: str) -> list[Any]:
        return self.driver.find_elements("css selector", selector)

    def texts(self, selector: str) -> list[str]:
        # At once: what the page replaces meanwhile would be gone when it is asked for its text.
        script = "return [...document.querySelectorAll(arguments[0])].map((e) => e.innerText)"
        found: list[str] = self.js(script, selector)
        return found

    def open_all(self) -> None:
        """Opens every part that can be, and waits until each has been filled."""
        self.js("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        # That they were opened is told them before a timer that was set later runs out.
        self.driver.execute_async_script("setTimeout(arguments[0], 100)")

    def press(self, *keys: str) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def until(self, done: Callable[[], object]) -> None:
        end = time.monotonic() + 10
        while not done():
            assert time.monotonic() < end, "it does not happen"
            time.sleep(0.02)

    def console(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    opened = Browser(tmp_path_factory.mktemp("browser"))
    yield opened
    opened.driver.quit()


@pytest.fixture(autouse=True)
def _silent(browser: Browser) -> Iterator[None]:
    """Nothing is ever said on the console, and nothing loaded from elsewhere."""
    browser.console()
    yield
    assert browser.console() == []
    assert browser.js("return performance.getEntriesByType('resource').map((e) => e.name)") == []


def sizes(*given: object) -> str:
    return "\N{MULTIPLICATION SIGN}".join(map(str, given))


def page_of(proto: ModelProto, **given: Any) -> str:
    return rewrite(proto, objective="graph", **given).report.to_html()


@pytest.fixture(scope="module")
def html() -> str:
    return page_of(everything())


@pytest.fixture(scope="module")
def large_html() -> str:
    return page_of(large(4000), verify="none")


def test_the_first_screen_says_what_and_whether(browser: Browser, html: str) -> None:
    browser.open(html)
    (sentence,) = browser.texts("h1")
    assert sentence.startswith("18 nodes became 12 by 5 fusions and 1 cleanup")
    assert len(browser.all(".figures > div")) == 4
    bottom = browser.js("return document.querySelector('.figures').getBoundingClientRect().bottom")
    assert bottom < 600


def test_pictures_show_names_and_shapes_before_and_after(browser: Browser, html: str) -> None:
    browser.open(html)
    first = browser.all("#fusions details.rule[open] .picture")[0]
    before, after = (first.find_elements("css selector", ".side svg")[i].text for i in (0, 1))
    assert all(
        text in before
        for text in ("Conv", "conv1", "Mul", "mul1", sizes("batch", 2, 4, 4), sizes(2, 2, 1, 1))
    )
    assert "mul1" not in after
    assert "w_fused" in after
    size = browser.js("const b = arguments[0].getBoundingClientRect(); return b.width", first)
    assert size > 300


@pytest.mark.parametrize("seed", range(6))
def test_nothing_overlaps_in_a_picture_and_wires_lead_from_node_to_node(
    browser: Browser, seed: int
) -> None:
    browser.open(page(tangled(seed)))
    browser.open_all()
    browser.until(lambda: len(browser.all("#fusions svg")) == 3)
    assert len(browser.all("#fusions svg .box")) == 3 * 14
    assert len(browser.all("#fusions svg .wire")) > 60
    assert browser.js(FAULTS) == []


def test_pictures_of_a_report_are_drawn_without_faults(browser: Browser, html: str) -> None:
    for text in (html, page_of(odd_names())):
        browser.open(text)
        browser.open_all()
        browser.until(lambda: len(browser.all("#fusions .wire")) > 15)
        assert browser.js(FAULTS) == []


def test_values_of_a_picture_are_too_many_to_draw(browser: Browser) -> None:
    data = tangled(0)
    picture = data["pictures"][0]
    picture["values"] += [[[4], "float32", False]] * 1000
    picture["before"][0][1].extend(range(len(picture["values"]) - 1000, len(picture["values"])))
    browser.open(page(data))
    browser.open_all()
    browser.until(lambda: len(browser.all("#fusions svg")) == 3)
    assert browser.all("#fusions .wire") == []
    assert "and 6 more" in browser.all("#fusions svg")[0].text


def test_a_click_leads_to_the_equation_and_the_check(browser: Browser, html: str) -> None:
    browser.open(html)
    picture = browser.all("#fusions .picture")[0]
    assert not [e for e in browser.all("#fusions .facts") if e.is_displayed()]
    picture.click()
    (facts,) = [e.text for e in browser.all("#fusions .facts") if e.is_displayed()]
    assert "s * (w * x + b) + t == (s * w) * x + (s * b + t)" in facts
    assert "8 sets of random inputs in float64, largest error" in facts
    assert "F8 (Convolution and Scale)" in facts
    assert picture.get_attribute("aria-expanded") == "true"


def test_another_place_is_shown_in_the_same_picture(browser: Browser, large_html: str) -> None:
    browser.open(large_html)
    scene = browser.all("#fusions .scene")[0]
    places = scene.find_elements("css selector", ".list button")
    assert len(places) == 60
    places[7].click()
    assert places[7].get_attribute("aria-current") == "true"
    assert places[7].text.split(" + ")[0] in scene.find_element("css selector", "h3").text
    more = scene.find_element("css selector", ".end button")
    more.click()
    assert len(scene.find_elements("css selector", ".list button")) == 120
    focused = browser.js("return document.activeElement.textContent")
    assert focused == scene.find_elements("css selector", ".list button")[60].text


def test_fusions_are_found_by_the_nodes_in_them(browser: Browser, large_html: str) -> None:
    browser.open(large_html)
    (look,) = browser.all("#find")
    look.send_keys("stages.2/blocks.7/ bn1")
    path = "/backbone/stages.2/blocks.7"
    title = f"{path}/conv1/Conv + {path}/bn1/BatchNormalization"
    browser.until(lambda: browser.texts("#fusions .scene > h3") == [title])
    look.send_keys(" nowhere")
    browser.until(lambda: browser.texts("#fusions .empty") == ["Nothing matches."])
    # What the graph leads to is shown whatever was looked for.
    browser.js("document.querySelector('#graph svg').focus()")
    browser.js("document.querySelector('#graph .map > button').click()")
    assert browser.js("return document.getElementById('find').value") == ""
    focused = "return String(document.activeElement.className)"
    browser.until(lambda: browser.js(focused) == "picture")


def test_search_and_filters_of_near_misses(browser: Browser, html: str) -> None:
    browser.open(html)
    said = lambda: browser.texts("#why-not .miss .where")  # noqa: E731
    assert sorted(said()) == ["mul4", "mul5"]
    (search,) = browser.all("#search")
    search.send_keys("WIDE channel")
    browser.until(lambda: said() == ["mul4"])
    assert browser.texts("#count") == ["1 of 2 near misses"]
    assert browser.texts("mark")[0].lower() in ("wide", "channel")
    search.send_keys(" nowhere")
    browser.until(lambda: said() == [])
    assert browser.texts("#why-not .empty") == ["Nothing matches."]
    browser.js("arguments[0].value = ''; arguments[0].dispatchEvent(new Event('input'))", search)
    browser.until(lambda: len(said()) == 2)
    from selenium.webdriver.support.ui import Select

    Select(browser.all("#by-guard")[0]).select_by_value("one-consumer")
    assert said() == ["mul5"]
    Select(browser.all("#by-guard")[0]).select_by_value("")
    Select(browser.all("#by-rule")[0]).select_by_value("conv-scale")
    assert len(said()) == 2


def test_a_near_miss_says_what_helps(browser: Browser, html: str) -> None:
    browser.open(html)
    # It is there without a click; the rest is not.
    assert [text[:12] for text in browser.texts("#why-not .helps")] == ["What helps: "] * 2
    browser.all("#why-not summary")[0].click()
    facts = next(e.text for e in browser.all("#why-not .facts") if e.is_displayed())
    assert "requires" in facts
    assert "F8 (Convolution and Scale)" in facts


def test_operators_are_bars(browser: Browser, html: str) -> None:
    browser.open(html)
    rows = browser.all("#operators table.bars tbody tr")
    mul = next(row for row in rows if row.text.startswith("Mul"))
    widths = browser.js(
        "return [...arguments[0].querySelectorAll('.pair div')].map((e) => e.offsetWidth)", mul
    )
    assert widths[0] > widths[1] > 0


def test_the_graph_is_read_by_keyboard_and_leads_to_pictures(browser: Browser, html: str) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.open(html)
    assert browser.texts(".legend li")[:2] == ["fused: 8", "cleaned up: 1"]
    browser.js("document.querySelector('#graph svg').focus()")
    reading = lambda: browser.texts(".reading")[0]  # noqa: E731
    assert reading() == "conv1 (Conv): fused by conv-scale into conv1"
    seen = {reading()}
    for _ in range(17):
        browser.press(Keys.ARROW_RIGHT)
        seen.add(reading())
    assert len(seen) == 18
    assert any("not fused, because `wide`" in text for text in seen)
    browser.press(Keys.HOME, Keys.ENTER)
    browser.until(
        lambda: "picture" in (browser.js("return document.activeElement.className") or "")
    )


def test_every_part_is_reached_by_keyboard(browser: Browser, html: str) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.open(html)
    browser.open_all()
    wanted = browser.js(
        "window.reach = [...document.querySelectorAll(arguments[0])].filter((e) =>"
        " e.checkVisibility() && e.tabIndex >= 0); return window.reach.length",
        REACHABLE,
    )
    reached = set()
    for _ in range(wanted + 5):
        browser.press(Keys.TAB)
        place = browser.js(
            "const a = document.activeElement;"
            "return [window.reach.indexOf(a), getComputedStyle(a).outlineStyle]"
        )
        if place[0] >= 0:
            # Where one is can be seen.
            assert place[1] != "none"
            reached.add(place[0])
    assert reached == set(range(wanted))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_light_and_dark(browser: Browser, html: str, scheme: str) -> None:
    browser.open(html, scheme=scheme)
    browser.open_all()
    browser.all("#fusions .picture")[0].click()
    assert browser.js("return document.documentElement.dataset.theme") == scheme
    paper = browser.js("return getComputedStyle(document.body).backgroundColor")
    assert (max(map(int, paper[4:-1].split(","))) < 60) == (scheme == "dark")
    assert browser.js(CONTRAST) == []


def test_colours_can_be_switched_and_follow_the_system_until_then(
    browser: Browser, html: str
) -> None:
    browser.open(html)
    (button,) = browser.all("#theme")
    button.click()
    assert browser.js("return document.documentElement.dataset.theme") == "dark"
    button.click()
    assert browser.js("return document.documentElement.dataset.theme") == "light"


@pytest.mark.parametrize("width", [320, 390, 768, 1600])
def test_nothing_is_wider_than_the_screen(browser: Browser, html: str, width: int) -> None:
    for text in (html, page_of(odd_names())):
        browser.open(text, width=width)
        browser.open_all()
        browser.all("#fusions .picture")[0].click()
        time.sleep(0.1)
        assert browser.js("return document.documentElement.scrollWidth") <= width
        outside = browser.js(
            "return [...document.querySelectorAll('header *, main *')]"
            ".filter((e) => e.checkVisibility() && !e.closest('.tablebox, .hidden')"
            " && e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.outerHTML)"
        )
        assert outside == []


def test_long_lists_become_elements_when_they_are_asked_for(
    browser: Browser, large_html: str
) -> None:
    browser.open(large_html)
    count = "return document.querySelectorAll('*').length"
    assert browser.js(count) < 2500
    assert len(browser.all("#why-not .miss")) == 5
    before = browser.js(count)
    browser.all("#why-not .end button")[0].click()
    assert len(browser.all("#why-not .miss")) == 65
    assert browser.js(count) > before


def test_a_large_report_opens_at_once(browser: Browser) -> None:
    browser.open(page_of(large(5000), verify="none"))
    assert "5,000 nodes" in browser.texts("h1")[0]
    took = "return performance.getEntriesByType('navigation')[0].loadEventEnd"
    browser.until(lambda: browser.js(took) > 0)
    # Half a second where nothing else runs.
    assert browser.js(took) < 10_000
    # What it draws when a part is opened takes no longer with more of the same.
    start = "return performance.now()"
    before = browser.js(start)
    browser.open_all()
    assert browser.js(start) - before < 10_000


def test_numbers_are_written_alike_everywhere(browser: Browser) -> None:
    browser.driver.get("about:blank")
    write = lambda call: browser.js(f"{script('format')}; return {call}")  # noqa: E731
    amounts = [
        0,
        1,
        80,
        999,
        1000,
        1500,
        99_949,
        999_499,
        999_999,
        217_000_000,
        4_000_000,
        3 * 10**15,
    ]
    assert write(f"{amounts}.map(bytes)") == [
        "0 bytes", "1 byte", "80 bytes", "999 bytes", "1 kB", "1.5 kB", "99.9 kB", "999 kB", "1 MB",
        "217 MB", "4 MB", "3000 TB",
    ]  # fmt: skip
    assert write("[-1, -1500, 0].map(bytes)") == [f"{MINUS}1 byte", f"{MINUS}1.5 kB", "0 bytes"]
    assert write("[0, 999, 57_700, -2_000_000].map(operations)") == [
        "0",
        "999",
        "57.7 k",
        f"{MINUS}2 M",
    ]
    assert write("[0, 1, 1234].map((n) => counted(n, 'node'))") == [
        "0 nodes",
        "1 node",
        "1,234 nodes",
    ]
    assert write("[part(1, 3, 'entry', 'entries'), part(1, 1, 'entry', 'entries')]") == [
        "1 of 3 entries",
        "1 entry",
    ]
    assert write("[0.0123, 0.5, 12].map(seconds)") == ["0.012 s", "0.50 s", "12.00 s"]
    assert write("[null, [], [1, 'n']].map(shape)") == ["?", "scalar", sizes(1, "n")]
    assert write("[short('abcdefghij', 10), short('abcdefghijk', 7)]") == ["abcdefghij", "ab…hijk"]


def test_the_script_is_strict_and_leaves_no_globals(browser: Browser, html: str) -> None:
    names = "return Object.getOwnPropertyNames(window)"
    browser.open("<!doctype html>")
    there = set(browser.js(names))
    browser.open(html)
    assert set(browser.js(names)) - there == {"dagre"}
    # A module is strict by itself.
    assert browser.js("return document.scripts[document.scripts.length - 1].type") == "module"
    # What its modules declare hides nothing that the browser has, since one may want to call that.
    declared = re.findall(r"^(?:const|let|function|class) (\w+)", script(), re.MULTILINE)
    assert len(declared) > 80
    assert set(declared) & there == set()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_paper_is_light(browser: Browser, html: str, scheme: str) -> None:
    browser.open(html, scheme=scheme)
    browser.open_all()
    browser.js(
        "window.printed = [];"
        "const theme = () => document.documentElement.dataset.theme;"
        "addEventListener('beforeprint', () => printed.push(theme()))"
    )
    given = {"printBackground": True, "paperWidth": 8.27, "paperHeight": 11.69}
    paper = base64.b64decode(browser.driver.execute_cdp_cmd("Page.printToPDF", given)["data"])
    assert paper.startswith(b"%PDF-")
    assert paper.count(b"/Type /Page\n") + paper.count(b"/Type /Page ") > 2
    assert browser.js("return printed") == ["light"]
    assert browser.js("return document.documentElement.dataset.theme") == scheme


def test_odd_names_are_shown_as_text(browser: Browser) -> None:
    browser.open(page_of(odd_names()))
    assert (
        browser.js("return document.querySelectorAll('main img, main script, main b b').length")
        == 0
    )
    shown = browser.js("return document.body.textContent")
    data = json.loads(browser.js("return document.getElementById('data').textContent"))
    for name in (ODD[0], ODD[1], ODD[2]):
        assert name in shown
    names = {name for entry in data["fused"] for name in entry["nodes"]}
    assert set(ODD[:3]) <= names


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nothing fuses", "No rule applied to this model."),
        ("one node", "No near misses"),
        ("empty", "No rule could apply anywhere in this model."),
        ("erased", "Nothing reads what it computes."),
    ],
)
def test_the_edges_say_something_sensible(browser: Browser, name: str, sentence: str) -> None:
    browser.open(page_of(EDGES[name]()))
    browser.open_all()
    browser.until(lambda: sentence in browser.js("return document.body.innerText"))
    text = browser.js("return document.body.innerText")
    assert "undefined" not in text
    assert "NaN" not in text


def test_a_report_without_details_is_shown_as_far_as_it_goes(browser: Browser) -> None:
    data = rewrite(everything(), objective="graph").report.to_dict()
    for key in ("rules", "guards", "provenance", "cost", "pictures", "graph", "versions"):
        del data[key]
    for entry in data["fused"]:
        for key in ("origin", "complete", "kept", "check", "saved", "picture", "wires"):
            entry.pop(key)
    browser.open(page(data))
    text = browser.all("#fusions .picture svg")[0].text
    assert all(name in text for name in ("conv1", "mul1"))
    assert "does not include how the nodes are connected" in browser.js(
        "return document.body.innerText"
    )
    assert len(browser.all("#why-not .miss")) == 2


def test_engines_are_compared_where_there_was_a_build(browser: Browser) -> None:
    data = rewrite(everything(), objective="graph").report.to_dict()
    sides = [
        {"name": n, "kernels": k, "traffic": t, "seconds": 1.5, "size": 10, "weights": 8,
         "activation": None}
        for n, k, t in (("m", 12, 4_000_000), ("m fused", 7, 2_500_000))
    ]  # fmt: skip
    data["engine"] = {
        "backend": "tensorrt_rtx 1.7",
        "shapes": {"x": [1, 2, 4, 4]},
        "a": sides[0],
        "b": sides[1],
        "vanished": [{"name": "k1", "type": "kgen", "nodes": ["mul1"]}],
        "appeared": [],
        "notes": ["A note."],
        "agreement": None,
    }
    browser.open(page(data))
    text = " ".join(browser.texts("#engine")[0].split())
    shape = f"x: {sizes(1, 2, 4, 4)}"
    for part in ("kernels 12 7", "traffic 4 MB 2.5 MB", "Kernels that vanished", "A note."):
        assert part in text
    assert shape in text
    (first,) = browser.texts(".hero .ruling")
    assert first == headline(data).engine
    assert first.startswith("TensorRT runs 7 kernels instead of 12")
    browser.all("#engine summary")[0].click()
    # A part is filled in when it has been opened.
    browser.until(lambda: "k1 (kgen): mul1" in browser.texts("#engine")[0])


def test_a_group_is_drawn_as_one_kernel(browser: Browser) -> None:
    data = rewrite(everything(), rules=["conv-scale"], objective="graph").report.to_dict()
    drawn = next(entry for entry in data["fused"] if entry["picture"] is not None)
    plain = {"rule": "conv-relu", "kind": "group", "error": None, "note": "A note."}
    picture = {**drawn, **plain, "name": "conv9 + relu9", "into": ["conv9 + relu9"], "check": None}
    flat = {**plain, "name": "a + b", "nodes": ["a", "b"], "operators": ["Conv", "Relu"]}
    data["fused"] += [picture, {**flat, "into": ["a", "b"]}]
    browser.open(page(data))
    # They save no nodes.
    assert "group" not in browser.texts("h1")[0]
    assert "2 groups" in browser.texts(".figures")[0]
    assert (
        "2 groups expected as one kernel each; only a build can tell" in browser.texts("#safe")[0]
    )
    browser.open_all()
    browser.until(lambda: len(browser.all("#fusions svg.group")) == 2)
    assert len(browser.all("#fusions svg.group .frame")) == 1
    text = browser.texts("#fusions")[0]
    assert text.lower().count("expected as one kernel") == 3


def built(outcome: str, kernels: int, traffic: int) -> dict[str, Any]:
    """What TensorRT made of a model of 9 kernels and 4 MB, with its one group in some kernels."""
    figures = {"seconds": 1.5, "size": 10_000_000, "weights": 8, "activation": None}
    a = {"name": "m", "kernels": 9, "traffic": 4_000_000, **figures}
    b = {"name": "m fused", "kernels": kernels, "traffic": traffic, **figures}
    verdict = Verdict.of(a, b).to_dict()
    found = {"rule": "conv-relu", "kind": "group", "name": "a + b", "into": ["a", "b"]}
    fusion = {**found, "outcome": outcome, "kernels": ["k1", "k2"]}
    return {
        "backend": "TensorRT 1",
        "shapes": {},
        "a": a,
        "b": b,
        "vanished": [],
        "appeared": [],
        "notes": [],
        "verdict": verdict,
        "agreement": {"fusions": [fusion], "beyond": [], "share": None, "counts": {}},
    }


def grouped_data(engine: dict[str, Any] | None) -> dict[str, Any]:
    """A report of a model with a group in it."""
    data = rewrite(everything(), rules=["conv-scale"], objective="graph").report.to_dict()
    group = {"rule": "conv-relu", "kind": "group", "error": None, "name": "a + b"}
    nodes = {"nodes": ["a", "b"], "operators": ["Conv", "Relu"], "into": ["a", "b"]}
    data["fused"].append({**group, **nodes})
    data["engine"] = engine
    return data


@pytest.mark.parametrize(
    ("kernels", "traffic", "outcome", "sentence"),
    [
        (10, 6_720_000, "worse", "Worse: 10 kernels instead of 9 and 68% more traffic; the same"),
        (8, 4_000_000, "better", "Better: 8 kernels instead of 9; the same traffic"),
        (8, 6_720_000, "mixed", "Mixed: 8 kernels instead of 9, but 68% more traffic"),
        (9, 4_000_000, "same", "Same: 9 kernels as before"),
    ],
)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_verdict_on_the_engine_is_the_first_thing(
    browser: Browser, kernels: int, traffic: int, outcome: str, sentence: str, scheme: str
) -> None:
    browser.open(page(grouped_data(built("one kernel", kernels, traffic))), scheme=scheme)
    (ruling,) = browser.texts(".hero .ruling")
    assert ruling.startswith(sentence)
    assert f"{outcome} engine" in browser.texts(".hero .badge")
    above = browser.js(
        "return document.querySelector('.ruling').getBoundingClientRect().bottom"
        " <= document.querySelector('h1').getBoundingClientRect().top"
    )
    assert above
    assert browser.js(CONTRAST) == []


def test_values_that_are_equal_are_neither_green_nor_amber(browser: Browser) -> None:
    browser.open(page(grouped_data(built("one kernel", 9, 4_000_100))))
    colours = browser.js(
        "return [...document.querySelectorAll('#engine tbody tr')].map((row) =>"
        " [getComputedStyle(row.querySelector('.is')).backgroundColor,"
        " getComputedStyle(row.querySelector('.number:last-child')).color])"
    )
    plain = browser.js(
        "const was = document.querySelector('#engine .was');"
        "return [getComputedStyle(was).backgroundColor, getComputedStyle(document.body).color]"
    )
    # Traffic that changed by less than its threshold counts as equal.
    assert len(colours) == 4
    assert all(colour == plain for colour in colours)
    browser.open(page(grouped_data(built("one kernel", 10, 2_000_000))))
    classes = browser.js(
        "return [...document.querySelectorAll('#engine .is')].map((bar) => bar.className)"
    )
    assert classes[:2] == ["is worse", "is better"]


@pytest.mark.parametrize(
    ("outcome", "title"),
    [
        ("several kernels", "; in the engine, 0 are"),
        ("merged further", "; in the engine, all are"),
    ],
)
def test_a_group_says_what_the_builder_did(browser: Browser, outcome: str, title: str) -> None:
    browser.open(page(grouped_data(built(outcome, 9, 4_000_000))))
    browser.open_all()
    browser.until(lambda: browser.all("#fusions svg.group"))
    assert f"Expected as one kernel: 1{title}" in browser.texts("#fusions h3.part")
    assert f"TensorRT: {outcome}" in browser.texts("#fusions .tag")
    browser.js("document.querySelector('#fusions svg.group').closest('button').click()")
    assert f"{outcome}: k1, k2" in " ".join(browser.texts("#fusions .facts"))


def test_all_sections_can_be_reached_on_a_telephone(browser: Browser) -> None:
    browser.open(page(grouped_data(built("one kernel", 9, 4_000_000))), width=390)
    links = browser.js(
        "return [...document.querySelectorAll('nav a')].map((link) => {"
        " const box = link.getBoundingClientRect();"
        " return [link.textContent, box.left >= 0 && box.right <= innerWidth && box.width > 0]; })"
    )
    assert [name for name, _ in links] == [
        *("Safe?", "Next", "Graph", "Fusions", "Why not", "Operators", "Engine", "About")
    ]
    assert all(inside for _, inside in links)
    targets = browser.js(
        "return [...document.querySelectorAll('nav a')].filter((link) =>"
        " !document.querySelector(link.getAttribute('href')))"
    )
    assert targets == []


def test_near_misses_that_can_be_helped_come_first(browser: Browser) -> None:
    data = rewrite(everything(), objective="graph").report.to_dict()
    miss = {"at": "n", "because": "of this"}
    data["guards"] = {
        "never": {"holds": "", "helps": "nothing: it is so"},
        "may": {"holds": "", "helps": "nothing, if it is meant; else do `this`"},
        "can": {"holds": "", "helps": "do that"},
    }
    data["rules"] = {"small": {"saves": 1}, "large": {"saves": 5}}
    kinds = [("small", "never")] * 4 + [("small", "may")] * 3
    kinds += [("small", "can")] * 2 + [("large", "can")]
    data["declined"] = [{**miss, "rule": rule, "guard": guard} for rule, guard in kinds]
    data["graph"] = None
    browser.open(page(data))
    tags = browser.texts("#why-not .about")
    assert [" ".join(text.split()) for text in tags] == [
        "large can 1\N{MULTIPLICATION SIGN} up to 5 nodes fewer",
        "small can 2\N{MULTIPLICATION SIGN} up to 2 nodes fewer",
        "small may 3\N{MULTIPLICATION SIGN} up to 3 nodes fewer",
        "small never 4\N{MULTIPLICATION SIGN} up to 4 nodes fewer",
    ]
    assert browser.texts("#why-not .helps code") == ["this"]
    steps = browser.texts("#next li")
    assert steps[-1].split("\n\n") == [
        "Do that.",
        "large at 1 place, up to 5 nodes fewer; small at 2 places, up to 2 nodes fewer",
    ]


def test_a_long_operator_stays_in_its_box(browser: Browser, html: str) -> None:
    browser.open(html.replace('"Relu"', '"BatchNormalizationOfEverything"'))
    outside = browser.js(
        "const boxes = [...document.querySelectorAll('#graph text.inbox')].map((t) => t.getBBox());"
        "return boxes.filter(({ width }) => width > 130).length"
    )
    assert len(browser.all("#graph text.inbox")) > 0
    assert outside == 0
