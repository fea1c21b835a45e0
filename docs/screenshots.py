"""Takes the pictures of the report's page: `python docs/screenshots.py [REPORT.json]`.

Those of the README show the digit classifier and a network that comes with the onnx package. Those
of the tutorial show REPORT.json, which the tutorial's `trtfuse fuse` writes with `--report
REPORT.json`; without it they stay as they are. What each was taken of is kept in
`images/taken.json`, and a test says which of them are out of date. Chromium has to be installed,
with its driver.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import click
import onnx
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

import trtfuse
from trtfuse.report.page import page

IMAGES = Path(__file__).parent / "images"
TAKEN = IMAGES / "taken.json"
LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
DIGITS = IMAGES.parent.parent / "examples" / "digits" / "digits.onnx"
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --hide-scrollbars "
    "--disable-background-networking --disable-component-update --disable-sync"
)
WIDTH = 1120


class Shot(NamedTuple):
    """A picture: of which page, in which colours, how high, and what to do on the page before."""

    name: str
    model: Path | None
    scheme: str
    height: int
    script: str = ""


def _at(part: str) -> str:
    return f"document.getElementById('{part}').scrollIntoView();"


#: Without a model, the page is that of the tutorial.
SHOTS = (
    Shot("report.png", DIGITS, "light", 1620, "document.querySelector('.picture').click();"),
    Shot(
        "why-not.png",
        LIGHT / "light_densenet121.onnx",
        "dark",
        790,
        "document.querySelector('#why-not details').open = true;" + _at("why-not"),
    ),
    Shot("tutorial-verdict.png", None, "light", 1000),
    Shot(
        "tutorial-fusion.png",
        None,
        "light",
        900,
        "document.querySelector('#fusions .picture').click();" + _at("fusions"),
    ),
    Shot(
        "tutorial-why-not.png",
        None,
        "light",
        900,
        "document.querySelector('#why-not details').open = true;" + _at("why-not"),
    ),
    Shot("tutorial-engine.png", None, "light", 900, _at("engine")),
)


def page_files() -> str:
    """The hash of all that a page is made of besides its report."""
    folder = importlib.resources.files("trtfuse.report") / "html"
    found = hashlib.sha256()
    for path in sorted(Path(str(folder)).rglob("*")):
        if path.suffix in {".html", ".css", ".js"}:
            found.update(path.read_bytes())
    return found.hexdigest()


def shown(model: Path) -> str:
    """The hash of the page of a model, but for what differs from run to run."""
    report = trtfuse.fuse(model, verify="none").report
    report.model, report.date, report.original = model.name, None, None
    report.versions, report.seconds = {}, {}
    return hashlib.sha256(report.to_html().encode()).hexdigest()


def taken_of(shot: Shot) -> dict[str, str]:
    """What a picture that is taken now is kept as."""
    image = hashlib.sha256((IMAGES / shot.name).read_bytes()).hexdigest()
    if shot.model is None:
        return {"image": image, "page": page_files()}
    return {"image": image, "page": shown(shot.model)}


def photograph(driver: webdriver.Chrome, path: Path, shot: Shot) -> None:
    """Takes the picture of a page as it is in a window of some height."""
    size = {"width": WIDTH, "height": shot.height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = {"prefers-color-scheme": shot.scheme, "prefers-reduced-motion": "reduce"}
    media = {"features": [{"name": name, "value": value} for name, value in features.items()]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    driver.get(path.as_uri())
    driver.execute_script(shot.script + "document.activeElement.blur();")
    (IMAGES / shot.name).write_bytes(driver.get_screenshot_as_png())


def written(shot: Shot, reports: list[str]) -> str:
    """The page that a picture shows."""
    if shot.model is None:
        return page(json.loads(Path(reports[0]).read_text(encoding="utf-8")))
    report = trtfuse.fuse(shot.model).report
    report.model = shot.model.name
    return report.to_html()


def main() -> None:
    """Takes all pictures, or those of the README alone."""
    browser, found = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or found is None:
        sys.exit("chromium and chromedriver are not installed")
    reports = sys.argv[1:2]
    IMAGES.mkdir(exist_ok=True)
    taken = json.loads(TAKEN.read_text(encoding="utf-8")) if TAKEN.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        options = webdriver.ChromeOptions()
        options.binary_location = browser
        for flag in (*FLAGS.split(), f"--user-data-dir={folder}/profile"):
            options.add_argument(flag)
        driver = webdriver.Chrome(options=options, service=Service(found))
        try:
            for shot in SHOTS:
                if shot.model is None and not reports:
                    continue
                path = Path(folder) / "page.html"
                path.write_text(written(shot, reports), encoding="utf-8")
                photograph(driver, path, shot)
                taken[shot.name] = taken_of(shot)
                click.echo(f"wrote {(IMAGES / shot.name).relative_to(IMAGES.parent.parent)}")
        finally:
            driver.quit()
    TAKEN.write_text(json.dumps(taken, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
