"""The page in a browser without network; skipped where there is no Chromium or no playwright to drive one."""

import shutil

import pytest

from cuts3d_cli.report import page as report

sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")
NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser():
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def address(finished_run, tmp_path_factory):
    """The report of a copy of the finished run."""
    run, config = finished_run
    out = shutil.copytree(run, tmp_path_factory.mktemp("browser") / "run") / "report.html"
    report.run(out.parent, out, config=config)
    return out.as_uri()


@pytest.fixture(params=[(1280, 900), (390, 800)], ids=["wide", "narrow"])
def page(browser, address, request):
    """The report at two sizes of the window, nothing but files at hand; an error of its script fails the test."""
    width, height = request.param
    context = browser.new_context(viewport={"width": width, "height": height}, offline=True)
    opened, problems = context.new_page(), []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("request", lambda sent: problems.append(sent.url) if sent.url.startswith("http") else None)
    opened.goto(address)
    yield opened
    context.close()
    assert not problems


def shown(root):
    """Which masks of a picture are on."""
    return root.locator(".m").evaluate_all("all => all.map((m) => getComputedStyle(m).display !== 'none')")


def test_the_page_fits_the_window_and_has_its_pictures(page):
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.eval_on_selector_all("img", "all => all.every((i) => i.complete && i.naturalWidth > 0)")
    box = page.locator("#sheets svg image, #sheets svg use").first.bounding_box()
    assert box["width"] > 100 and box["height"] > 60


def test_a_button_switches_a_mask_off_and_on(page):
    figure = page.locator("#sheets .pic").first
    before = shown(figure)
    chip = figure.locator(".chip").first
    chip.click()
    assert shown(figure) == [False, *before[1:]] != before and chip.get_attribute("aria-pressed") == "false"
    chip.click()
    assert shown(figure) == before


def test_a_picture_enlarges_and_the_keys_work(page):
    small = page.locator("#sheets .open").first
    width = small.bounding_box()["width"]
    small.click()
    title, stage = page.locator("#box-title"), page.locator("#stage")
    assert page.locator("#box").is_visible() and title.inner_text() == "t0.png"
    page.wait_for_function("document.querySelector('#stage img').src.endsWith('t0.png')")  # the original, from the disk
    assert page.locator("#stage img").bounding_box()["width"] >= width
    page.keyboard.press("1")
    assert shown(stage) == shown(page.locator("#sheets .pic").first) == [False, False]
    page.keyboard.press("ArrowRight")
    assert title.inner_text() == "t1.png"
    page.keyboard.press("m")
    assert shown(stage) == [False, False]
    page.keyboard.press("m")
    assert shown(stage) == [True, True]  # the ground truth, too
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert title.inner_text() != "t0.png"
    page.keyboard.press("Escape")
    assert not page.locator("#box").is_visible()


def test_every_picture_can_be_enlarged(page):
    page.locator("#images .open").first.click()
    total = int(page.locator("#box-place").inner_text().split()[-1])
    titles = []
    for _ in range(total):
        titles.append(page.locator("#box-title").inner_text())
        assert page.evaluate("document.querySelector('#stage img').src.length") > 0
        page.keyboard.press("ArrowRight")
    assert titles[0] == page.locator("#box-title").inner_text() == "a/one.png: Photograph"
    assert "a/one.png: Depth" in titles


def test_an_original_that_is_gone_leaves_the_thumbnail(page):
    page.evaluate("for (const p of document.querySelectorAll('#photos image')) p.dataset.original = 'gone.png'")
    page.locator("#sheets .open").first.click()
    page.wait_for_timeout(200)
    assert page.evaluate("document.querySelector('#stage img').src.startsWith('data:image/jpeg')")


def test_masks_can_be_filled_and_numbered_at_will(page):
    page.locator("#sheets .open").first.scroll_into_view_if_needed()
    number = page.locator("#sheets .m text").first
    assert number.is_visible()
    page.locator("#numbers").uncheck()
    assert not number.is_visible()
    page.evaluate(
        "const f = document.getElementById('fill'); f.value = 0; f.dispatchEvent(new Event('input', {bubbles: true}))"
    )
    assert page.evaluate("getComputedStyle(document.querySelector('#sheets .m path')).fillOpacity") == "0"
    page.locator("#truth").check()
    assert all(page.eval_on_selector_all(".m.truth", "all => all.map((m) => !m.classList.contains('off'))"))
