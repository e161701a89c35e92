"""The page as a person sees it: opened in a real browser, on a desk and on a phone, against a tiny model."""

from __future__ import annotations

import base64
import io
import re
import time
from collections.abc import Iterator

import pytest
from PIL import Image

from pipeline.serving.config import Access
from tests.support.browser import Browser, browsing
from tests.support.serving import RunningServer, Tiny, running_server
from trainer.inference.requests import Progress

pytestmark = pytest.mark.slow

WIDTHS = (1280, 390)
_ASK = "(text => { document.getElementById('text').value = text; document.getElementById('ask').requestSubmit(); })"
_NOTES = "[...document.querySelectorAll('.note')].map(e => e.textContent)"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as browser:
        yield browser


def wait_for(browser: Browser, condition: str, seconds: float = 40) -> None:
    end = time.monotonic() + seconds
    while not browser.evaluate(condition):
        assert time.monotonic() < end, (condition, browser.evaluate("document.body.innerText"), browser.errors)
        time.sleep(0.05)


def open_page(browser: Browser, server: RunningServer, *, width: int = 1280, dark: bool = False) -> None:
    browser.open(f"{server.address}/", width=width, dark=dark)
    wait_for(browser, "document.getElementById('model').textContent != 'connecting…'")
    browser.evaluate(
        "(document.getElementById('max-tokens').value = 8, document.getElementById('seed').value = 1, null)"
    )


@pytest.mark.parametrize("width", WIDTHS)
def test_a_question_is_answered_and_everything_fits_the_window(
    browser: Browser, server: RunningServer, width: int
) -> None:
    open_page(browser, server, width=width, dark=width == 390)
    browser.evaluate(f"{_ASK}('Who was there? ' + 'x'.repeat(200))")
    wait_for(browser, f"{_NOTES}.length == 1")
    assert re.match(r"\d+ \+ \d tokens", browser.evaluate(_NOTES)[0])
    assert browser.evaluate("document.querySelectorAll('.message').length") == 2
    assert browser.evaluate("document.querySelector('.message.assistant .text').textContent.length") > 0
    browser.evaluate("(showSettings(true), null)")
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    wide = f"[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > {width} + 0.5)"
    assert browser.evaluate(f"{wide}.map(e => e.outerHTML.slice(0, 80))") == []
    assert browser.errors == []
    assert all(url.startswith((server.address, "data:")) for url in browser.requests)


def test_a_second_question_sends_the_first_and_a_new_chat_does_not(browser: Browser, server: RunningServer) -> None:
    open_page(browser, server)
    for count in (1, 2):
        browser.evaluate(f"{_ASK}('Who?')")
        wait_for(browser, f"{_NOTES}.length == {count}")
    assert browser.evaluate("conversation.map(m => m.role)") == ["user", "assistant"] * 2
    browser.evaluate("document.getElementById('clear').click()")
    assert browser.evaluate("[conversation.length, document.querySelectorAll('.message').length]") == [0, 0]


def test_a_picture_is_attached_shown_and_read(browser: Browser, server: RunningServer) -> None:
    data = io.BytesIO()
    Image.new("RGB", (64, 48), "orange").save(data, "PNG")
    encoded = base64.b64encode(data.getvalue()).decode()
    open_page(browser, server)
    content = f"Uint8Array.from(atob('{encoded}'), c => c.charCodeAt(0))"
    browser.evaluate(f"attach([new File([{content}], 'a.png', {{type: 'image/png'}})])")
    wait_for(browser, "document.querySelectorAll('#attached img').length == 1")
    browser.evaluate(f"{_ASK}('What is this?')")
    wait_for(browser, f"{_NOTES}.length == 1")
    assert browser.evaluate("document.querySelector('.message.user img').naturalWidth") == 64
    assert browser.evaluate("document.querySelectorAll('#attached li').length") == 0
    assert browser.evaluate("document.querySelectorAll('.note.wrong').length") == 0
    assert browser.errors == []


def test_pictures_and_videos_of_the_model_are_shown_and_its_text_is_no_markup(
    browser: Browser, server: RunningServer
) -> None:
    open_page(browser, server)
    parts = (
        "[{type: 'text', text: '<b>a</b><script>x()</script>'},"
        " {type: 'image_url', image_url: {url: 'data:image/png,'}},"
        " {type: 'video_url', video_url: {url: 'data:video/mp4,'}}]"
    )
    browser.evaluate(f"(bubble({{role: 'assistant', content: {parts}}}), null)")
    found = "['img', 'video', 'b', 'script'].map(tag => document.querySelectorAll('.message ' + tag).length)"
    assert browser.evaluate(found) == [1, 1, 0, 0]


@pytest.mark.parametrize(("frames", "tag"), [(1, "img"), (2, "video")])
def test_what_the_model_draws_is_shown(browser: Browser, server: RunningServer, frames: int, tag: str) -> None:
    open_page(browser, server, width=390)
    browser.evaluate(
        f"(document.getElementById('frames').value = {frames}, document.getElementById('text').value = 'a boat', "
        "document.getElementById('draw').click(), null)"
    )
    wait_for(browser, f"{_NOTES}.length == 1")
    shown = f"document.querySelector('.message.assistant .media {tag}')"
    wait_for(browser, f"{shown}.naturalWidth > 0" if tag == "img" else f"{shown}.readyState >= 1")
    assert browser.evaluate("document.documentElement.scrollWidth") <= 390
    assert browser.evaluate("[conversation.length, document.getElementById('draw').hidden]") == [0, False]


def test_stop_ends_the_reply_also_in_the_engine(
    browser: Browser, server: RunningServer, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = tiny.engine.step

    def slow_step() -> list[Progress]:
        time.sleep(0.1)
        return step()

    monkeypatch.setattr(tiny.engine, "step", slow_step)
    open_page(browser, server)
    browser.evaluate("(document.getElementById('max-tokens').value = 300, null)")
    browser.evaluate(f"{_ASK}('Who?')")
    wait_for(browser, "document.querySelector('.message.assistant .text').textContent.length > 0")
    browser.evaluate("document.getElementById('stop').click()")
    wait_for(browser, f"{_NOTES}.includes('stopped')")
    server.wait_until_idle()
    assert browser.evaluate("[document.getElementById('send').hidden, document.getElementById('stop').hidden]") == [
        False,
        True,
    ]


def test_an_error_is_shown_and_a_key_is_asked_for(browser: Browser, tiny: Tiny) -> None:
    with running_server(tiny, Access(api_key="secret")) as server:
        open_page(browser, server)
        assert "API key" in browser.evaluate("document.getElementById('model').textContent")
        assert not browser.evaluate("document.getElementById('settings').hidden")
        browser.evaluate("(document.getElementById('key').value = 'secret', document.getElementById('key').onchange())")
        wait_for(browser, "document.getElementById('model').textContent.startsWith('tiny')")
        browser.evaluate("(document.getElementById('max-tokens').value = 1000000, null)")
        browser.evaluate(f"{_ASK}('Who?')")
        wait_for(browser, f"{_NOTES}.length == 1")
        assert "trained on contexts of" in browser.evaluate("document.querySelector('.note.wrong').textContent")
        assert browser.evaluate("conversation.length") == 0
