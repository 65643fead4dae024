"""Takes a picture of the beginning of a run's page, in a headless Chromium that is on the path with its driver.

Nothing is measured here. The README's picture is made by:

    swarm fit --config configs/quickstart.yaml
    python benchmarks/page_picture.py runs/quickstart/version_0 benchmarks/results/quickstart.png
"""

import argparse
import base64
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

WIDTH, HEIGHT = 900, 775  # of what is shown, in pixels: to the end of the climb
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars")
DRAWN = "return [...document.querySelectorAll('.figure')].every(figure => figure.querySelector('canvas'))"
PATIENCE = 60.0  # seconds until all figures are drawn


def draw(run: Path, picture: Path, theme: str = "light", height: int = HEIGHT) -> dict[str, Any]:
    """Take the picture.

    Args:
        run: The run's folder.
        picture: The new image, a PNG.
        theme: light or dark.
        height: In pixels from the top of the page.

    Returns:
        The run's name, and the size of the image in bytes.

    Raises:
        RuntimeError: If there is no Chromium, or the page does not draw its figures.
    """
    from selenium import webdriver

    from swarm_lightning.report.notebook import read_run
    from swarm_lightning.report.page import write_page

    binary, driver = shutil.which("chromium") or shutil.which("chromium-browser"), shutil.which("chromedriver")
    if binary is None or driver is None:
        raise RuntimeError("Expected chromium and chromedriver on the path. Install both from the system's packages.")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*FLAGS, f"--window-size={WIDTH},{height}"):
        options.add_argument(flag)
    opened = read_run(run)
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        write_page([opened], page)
        browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
        try:
            emulated = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", emulated)
            browser.get(page.as_uri())
            begun = time.monotonic()
            while not browser.execute_script(DRAWN):
                if time.monotonic() - begun > PATIENCE:
                    raise RuntimeError(f"Expected the page of {run} to draw its figures within {PATIENCE:.0f} s.")
                time.sleep(0.1)
            clip = {"x": 0, "y": 0, "width": WIDTH, "height": height, "scale": 1}
            shot = {"format": "png", "captureBeyondViewport": True, "clip": clip}
            picture.write_bytes(base64.b64decode(browser.execute_cdp_cmd("Page.captureScreenshot", shot)["data"]))
        finally:
            browser.quit()
    return {"run": opened.name, "bytes": picture.stat().st_size}


def main() -> None:
    """Take the picture, and print what it shows as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the run folder")
    parser.add_argument("picture", type=Path, help="the new image, a PNG")
    parser.add_argument("--theme", choices=("light", "dark"), default="light", help="colours of the page")
    parser.add_argument("--height", type=int, default=HEIGHT, help="pixels from the top of the page")
    settings = parser.parse_args()
    shown = draw(settings.run, settings.picture, settings.theme, settings.height)
    print(json.dumps({"benchmark": "page_picture", **shown}))


if __name__ == "__main__":
    main()
