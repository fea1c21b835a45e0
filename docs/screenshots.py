"""Takes the pictures of the report's page: `python docs/screenshots.py [REPORT.html]`.

The pictures in the README show the digit classifier and a network from the onnx package. Those in
the tutorial show REPORT.html, the page that the tutorial has its reader write; without it, they
stay as they are. `images/taken.json` records what each picture was taken of, and a test tells which
of them are out of date. Chromium and its driver must be installed.
"""

from __future__ import annotations

import hashlib
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
from trtfuse.report.script import script

IMAGES = Path(__file__).parent / "images"
TAKEN = IMAGES / "taken.json"
LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
DIGITS = IMAGES.parent.parent / "examples" / "digits" / "digits.onnx"
HTML = IMAGES.parent.parent / "trtfuse" / "report" / "html"
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --hide-scrollbars "
    "--disable-background-networking --disable-component-update --disable-sync"
)
WIDTH = 1120


class Shot(NamedTuple):
    """A picture: of which model's page, in which colours, how high, after which script.

    Without a model, the page is the tutorial's.
    """

    name: str
    model: Path | None
    scheme: str
    height: int
    script: str = ""


def _at(part: str) -> str:
    return f"document.getElementById('{part}').scrollIntoView();"


SHOTS = (
    Shot("report.png", DIGITS, "light", 2110, "document.querySelector('.picture').click();"),
    Shot(
        "why-not.png",
        LIGHT / "light_densenet121.onnx",
        "dark",
        790,
        "document.querySelector('#why-not details').open = true;" + _at("why-not"),
    ),
    Shot("tutorial-verdict.png", None, "light", 1330),
    Shot(
        "tutorial-fusion.png",
        None,
        "light",
        1010,
        "document.querySelector('#fusions .picture').click();" + _at("fusions"),
    ),
    Shot(
        "tutorial-why-not.png",
        None,
        "light",
        900,
        "document.querySelector('#why-not details').open = true;" + _at("why-not"),
    ),
    Shot("tutorial-engine.png", None, "light", 640, _at("engine")),
)


def page_files() -> str:
    """The hash of everything a page is made of besides its report."""
    found = hashlib.sha256()
    for path in sorted(HTML.rglob("*")):
        if path.suffix in {".html", ".css", ".js"}:
            found.update(path.read_bytes())
    return found.hexdigest()


def shown(model: Path) -> str:
    """The hash of a model's page, without what differs from run to run."""
    report = trtfuse.fuse(model, verify="none").report
    report.model, report.date, report.original = model.name, None, None
    report.versions, report.seconds = {}, {}
    return hashlib.sha256(report.to_html().encode()).hexdigest()


def taken_of(shot: Shot) -> dict[str, str]:
    """What is recorded of a picture that is taken now."""
    image = hashlib.sha256((IMAGES / shot.name).read_bytes()).hexdigest()
    if shot.model is None:
        return {"image": image, "page": page_files()}
    return {"image": image, "page": shown(shot.model)}


def photograph(driver: webdriver.Chrome, path: Path, shot: Shot) -> None:
    """Takes a picture of a page."""
    size = {"width": WIDTH, "height": shot.height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = {"prefers-color-scheme": shot.scheme, "prefers-reduced-motion": "reduce"}
    media = {"features": [{"name": name, "value": value} for name, value in features.items()]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    driver.get(path.as_uri())
    driver.execute_script(shot.script + "document.activeElement.blur();")
    (IMAGES / shot.name).write_bytes(driver.get_screenshot_as_png())


def tutorial_page(given: str) -> str:
    """The tutorial's page, if this version of trtfuse wrote it."""
    text = Path(given).read_text(encoding="utf-8")
    if not all(part in text for part in (script(), (HTML / "page.css").read_text("utf-8"))):
        sys.exit(f"{given} was written by another version of trtfuse: run the tutorial again")
    return text


def model_page(model: Path) -> str:
    """The page of a model."""
    report = trtfuse.fuse(model).report
    report.model = model.name
    return report.to_html()


def main() -> None:
    """Takes all pictures, or those in the README alone."""
    browser, found = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or found is None:
        sys.exit("chromium and chromedriver are not installed")
    tutorial = tutorial_page(sys.argv[1]) if len(sys.argv) > 1 else None
    taken = json.loads(TAKEN.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        options = webdriver.ChromeOptions()
        options.binary_location = browser
        for flag in (*FLAGS.split(), f"--user-data-dir={folder}/profile"):
            options.add_argument(flag)
        driver = webdriver.Chrome(options=options, service=Service(found))
        try:
            for shot in SHOTS:
                text = model_page(shot.model) if shot.model else tutorial
                if text is None:
                    continue
                path = Path(folder) / "page.html"
                path.write_text(text, encoding="utf-8")
                photograph(driver, path, shot)
                taken[shot.name] = taken_of(shot)
                click.echo(f"wrote {(IMAGES / shot.name).relative_to(IMAGES.parent.parent)}")
        finally:
            driver.quit()
    TAKEN.write_text(json.dumps(taken, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
