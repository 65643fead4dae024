"""The page in a real browser: headless Chromium with its driver, found on the path, driven by selenium."""

import base64
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas
import pytest
import torch
from safetensors.torch import save_file

from swarm_lightning.report.notebook import read_run
from swarm_lightning.report.page import LARGEST, write_page
from tests.report.conftest import EVIL

pytest.importorskip("vl_convert")
pytestmark = pytest.mark.browser
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
DRAWN = "return [...document.querySelectorAll('.figure')].map(e => e.querySelectorAll('canvas').length)"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver")
    binary, driver = shutil.which("chromium") or shutil.which("chromium-browser"), shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("chromium and chromedriver are not on the path")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}", "--window-size=1000,900"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield opened
    opened.quit()


def open_page(browser: Any, path: Path) -> float:
    """Open a page, wait until all figures are drawn, and return the seconds of work that took, whoever else works."""
    browser.get("about:blank")
    browser.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    begun = time.monotonic()
    browser.get(path.as_uri())
    while not all(browser.execute_script(DRAWN)):
        assert time.monotonic() - begun < 60, "figures are not drawn"
        time.sleep(0.02)
    metrics = browser.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    browser.execute_cdp_cmd("Performance.disable", {})
    return float(next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration"))


def requests_of(browser: Any) -> list[str]:
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [message["params"] for message in messages if message["method"] == "Network.requestWillBeSent"]
    return [params["request"]["url"] for params in sent if not params["request"]["url"].startswith("data:")]


def test_a_page_draws_everything_asks_nobody_and_complains_of_nothing(
    browser: Any, finished: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    write_page([read_run(finished)], page)
    open_page(browser, page)
    assert len(browser.execute_script(DRAWN)) == 5
    assert browser.get_log("browser") == []
    assert requests_of(browser) == [page.as_uri()]


def test_texts_of_users_stay_text_and_the_filters_work(browser: Any, finished: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    write_page([read_run(finished)], page)
    open_page(browser, page)
    assert "broken" not in browser.title
    texts = "return [...document.querySelectorAll('.examples tbody tr:not([hidden])')].map(row => row.textContent)"
    boxes = browser.find_elements("css selector", ".filters input[type=checkbox]")
    for box in boxes:
        if not box.is_selected():
            box.click()
    rows = browser.execute_script(texts)
    assert len(rows) == 8
    assert all(EVIL in row and "</td></table>" in row and "&lt;" in row for row in rows)
    wanted = read_run(finished).replies["test"].question.iloc[0].split(" <")[0]
    browser.find_element("css selector", ".filters input[type=search]").send_keys(wanted)
    assert all(wanted in row for row in browser.execute_script(texts))
    assert len(browser.execute_script(texts)) == 1
    for box in boxes:
        box.click()
    assert browser.execute_script(texts) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_page_fits_a_phone_in_light_and_dark(browser: Any, finished: Path, tmp_path: Path, theme: str) -> None:
    page = tmp_path / "page.html"
    write_page([read_run(finished)], page)
    emulated = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", emulated)
    screen = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    try:
        open_page(browser, page)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
        paper = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert paper == ("rgb(255, 255, 255)" if theme == "light" else "rgb(17, 24, 39)")
        picture = base64.b64decode(browser.get_screenshot_as_base64())
        assert picture.startswith(b"\x89PNG")
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_a_page_of_two_hundred_particles_and_a_thousand_examples_opens_at_once(browser: Any, tmp_path: Path) -> None:
    folder, page = tmp_path / "large", tmp_path / "page.html"
    write_large(folder)
    write_page([read_run(folder)], page)
    assert page.stat().st_size < LARGEST
    seconds = open_page(browser, page)
    assert 0 < seconds < 3
    assert browser.get_log("browser") == []


def write_large(folder: Path, particles: int = 200, examples: int = 1000, iterations: int = 50) -> None:
    """Write what a large search leaves, with random scores."""
    generator = torch.Generator().manual_seed(0)
    for kind in ("score_tables", "sketches", "replies"):
        (folder / kind).mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"state": "ended", "experts": [f"e{place}" for place in range(10)]}))
    rows, wide, best = [], [], torch.zeros(particles).double()
    for iteration in range(iterations + 1):
        scores = (torch.rand(particles, examples, generator=generator) < 0.5 + iteration / 200).double()
        utilities = scores.mean(dim=1)
        best = torch.maximum(best, utilities)
        for particle, (utility, highest) in enumerate(zip(utilities.tolist(), best.tolist(), strict=True)):
            rows.append((iteration, particle, utility, utility, utility, highest, False))
        wide.append((iteration, float(best.max()), examples * particles, 0, 1.0, 0))
        number = f"iteration_{iteration:04d}.safetensors"
        save_file({"scores": scores}, folder / "score_tables" / number)
        positions = torch.randn(particles, 67, generator=generator).double()
        save_file({"positions": positions, "found": positions[0].clone()}, folder / "sketches" / number)
    names = ["iteration", "particle", "utility", "at_least", "at_most", "personal_best", "restarted"]
    pandas.DataFrame(rows, columns=names).to_parquet(folder / "history.parquet")
    names = ["iteration", "global_best", "evaluations", "generated_tokens", "evaluation_seconds", "broken"]
    pandas.DataFrame(wide, columns=names).to_csv(folder / "history.csv", index=False)
    replies = [
        {"expert": expert, "question": f"Question {place}? " * 20, "choices": None, "reply": "reply " * 50,
         "gold": "a", "score": float((place + shift) % 3 == 0)}
        for shift, expert in enumerate(("best initial expert", "best found expert"))
        for place in range(examples)
    ]  # fmt: skip
    pandas.DataFrame(replies).to_parquet(folder / "replies" / "test.parquet")
