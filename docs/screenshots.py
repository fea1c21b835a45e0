"""Writes the pictures of the report that the README shows: `python docs/screenshots.py`.

It fuses the digit classifier and a network that comes with the onnx package, makes their pages, and
photographs them in chromium, which has to be installed with its driver.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import click
import onnx
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

import trtfuse

IMAGES = Path(__file__).parent / "images"
LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
DIGITS = IMAGES.parent.parent / "examples" / "digits" / "digits.onnx"
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --hide-scrollbars "
    "--disable-background-networking --disable-component-update --disable-sync"
)
WIDTH = 1120

#: File, network, colours, height, and what to do on the page before.
SHOTS = (
    ("report.png", DIGITS, "light", 1620, "document.querySelector('.picture').click();"),
    (
        "why-not.png",
        LIGHT / "light_densenet121.onnx",
        "dark",
        790,
        "document.querySelector('#why-not details').open = true;"
        "document.getElementById('why-not').scrollIntoView();",
    ),
)


def photograph(
    driver: webdriver.Chrome, page: Path, image: Path, scheme: str, height: int, script: str
) -> None:
    """Takes the picture of a page as it is in a window of some height."""
    size = {"width": WIDTH, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
    media = {"features": [{"name": name, "value": value} for name, value in features.items()]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    driver.get(page.as_uri())
    driver.execute_script(script + "document.activeElement.blur();")
    image.write_bytes(driver.get_screenshot_as_png())


def main() -> None:
    """Writes all pictures."""
    browser, found = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or found is None:
        sys.exit("chromium and chromedriver are not installed")
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        options = webdriver.ChromeOptions()
        options.binary_location = browser
        for flag in (*FLAGS.split(), f"--user-data-dir={folder}/profile"):
            options.add_argument(flag)
        driver = webdriver.Chrome(options=options, service=Service(found))
        try:
            for name, network, scheme, height, script in SHOTS:
                report = trtfuse.fuse(network).report
                report.model = network.name
                page = Path(folder) / "page.html"
                page.write_text(report.to_html(), encoding="utf-8")
                photograph(driver, page, IMAGES / name, scheme, height, script)
                click.echo(f"wrote {(IMAGES / name).relative_to(IMAGES.parent.parent)}")
        finally:
            driver.quit()


if __name__ == "__main__":
    main()
