"""A headless Chromium, and pages in it as a new user has them. Needs playwright."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

CHROMIUM = os.environ.get("MAJL_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--autoplay-policy=no-user-gesture-required",
]
DESKTOP = {"width": 1280, "height": 900}


@contextmanager
def chromium(*arguments: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, *arguments])
        yield browser
        browser.close()


@contextmanager
def new_users(browser: Browser, patience_ms: int) -> Iterator[Callable]:
    """`new_page(own, viewport, **arguments)`: an empty page of a new user; arguments as of `browser.new_context`. At
    the end, no page may have raised an error or requested anything whose address does not begin with one of `own`."""
    contexts, problems = [], []

    def new_page(own: tuple[str, ...], viewport=DESKTOP, **arguments):
        context = browser.new_context(viewport=viewport, accept_downloads=True, **arguments)
        context.set_default_timeout(patience_ms)
        contexts.append(context)
        context.on("request", lambda request: request.url.startswith(own) or problems.append(f"asked {request.url}"))
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(f"error on the page: {error}"))
        return page

    yield new_page
    for context in contexts:
        context.close()
    assert not problems
