"""Pages in a Chromium that is installed, driven by Playwright: scripts run, and what is not shown is not there.

Covered: the same elements and actions as without a browser, in frames and open shadow trees, too; everything it asks
for goes through a `Gate`. Not covered: forms that a script sends without a submit button, of which nobody is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import threading
import time
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from lumos_edge.errors import (
    HostNotAllowed,
    PageError,
    PageNotLoaded,
    PageTooLarge,
    StalePage,
    ToolError,
    ToolTimeout,
)
from lumos_edge.web import names
from lumos_edge.web.document import Document, Element, Operation
from lumos_edge.web.frames import ERROR_PAGE, MARK, View, look, playwright_error, wait_until_quiet
from lumos_edge.web.gate import MAX_BYTES, Gate
from lumos_edge.web.names import clean, cut
from lumos_edge.web.policy import Policy, host_and_port
from lumos_edge.web.reading import read_document
from lumos_edge.web.static import check_text
from lumos_edge.web.transport import TIMEOUT_S

T = TypeVar("T")

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
_CLICK_TIMEOUT_S = 5.0
_LEAVE_TIMEOUT_S = 10.0
_ERROR_PAGE_S = 1.0
_SETTLE_S = 5.0
"""Seconds that scripts may go on changing the page after an action before it is looked at as it is."""


class BrowserEnvironment:
    """A page in a browser of its own, with no cookies or passwords of the user's.

    `screenshots` is a folder for a picture of the page after each action. Costs some 2 s to start and 0.3 s for each
    action; `close` ends the browser.
    """

    def __init__(
        self, url: str, policy: Policy, *, screenshots: Path | None = None, is_visible: bool = False
    ) -> None:
        self._url = url
        self._screenshots = screenshots
        self._is_visible = is_visible
        self._gate = Gate(policy)
        # Playwright belongs to one thread, and tools run in many.
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="browser", daemon=True)
        self._thread.start()
        self._playwright: Any = None
        self._browser: Any = None
        self._page: Any = None
        self._frame: Any = None  # that of the element that is used
        self._view = View({})
        self._silent: set[Any] = set()  # frames that did not answer
        self._moved: set[Any] = set()  # frames that have another document since the action began
        self._pending: set[Any] = set()
        self._opened: list[Any] = []
        self._visited: list[str] = []
        self._visited_by_windows: list[str] = []
        self._asking: Any = None  # the last request for the page or a document of the frame that is used
        self._n_pictures = 0
        self._picture = ""

    def observe(self) -> Document:
        """See `Environment.observe`."""
        return self._run(self._observe())

    def act(self, operation: Operation, element: Element, text: str) -> None:
        """See `Environment.act`."""
        try:
            self._run(self._act(operation, element, text))
        except ToolTimeout:
            if self._page and self._page.main_frame in self._moved:
                self._leave()
            raise

    def _leave(self) -> None:
        """Go back from a page that does not come to rest."""
        with contextlib.suppress(ToolError):  # it may stay, and so do the time limits of what is done next
            self._run(self._page.go_back(wait_until="domcontentloaded"), _LEAVE_TIMEOUT_S)

    def close(self) -> None:
        """End the browser."""
        if self._loop.is_closed():
            return
        try:
            self._run(self._end())
        except ToolError:
            pass  # it ended by itself
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            self._gate.close()

    def _run(self, work: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T:
        """What the browser's thread makes of it. Raises ToolTimeout, PageNotLoaded, and typed errors as they are."""
        limited = asyncio.wait_for(work, timeout_s or TIMEOUT_S)
        try:
            return asyncio.run_coroutine_threadsafe(limited, self._loop).result()
        except (asyncio.TimeoutError, TimeoutError) as error:
            raise ToolTimeout(f"the browser took longer than {TIMEOUT_S:g} s") from error
        except Exception as error:
            if type(error).__module__.startswith("playwright"):
                raise PageNotLoaded(f"the browser failed: {_first_line(error)}") from error
            raise

    # -- the browser ------------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        async_playwright = _playwright()
        program = find_browser()
        self._playwright = await async_playwright().start()
        try:
            self._browser = await self._playwright.chromium.launch(
                executable_path=program,
                headless=not self._is_visible,
                # Chromium's own sandbox does not start for root.
                chromium_sandbox=getattr(os, "geteuid", lambda: 1)() != 0,
                proxy={"server": self._gate.url, "bypass": "<-loopback>"},
                args=["--force-webrtc-ip-handling-policy=disable_non_proxied_udp", "--disable-quic"],
            )
        except playwright_error() as error:
            raise PageError(f"{program or 'Chromium'} does not start: {_first_line(error)}") from error
        context = await self._browser.new_context(accept_downloads=False, service_workers="block")
        context.on("page", self._take_page)
        context.on("request", self._begin_request)
        context.on("requestfinished", self._end_request)
        context.on("requestfailed", self._end_request)
        await context.route("**/*", self._check_route)
        await context.new_page()

    async def _end(self) -> None:
        if self._browser:
            await self._browser.close()
        if self._playwright:
            await self._playwright.stop()

    def _take_page(self, page: Any) -> None:
        if self._page is None:
            self._page, self._frame = page, page.main_frame
        else:
            self._opened.append(page)
        page.on("framenavigated", self._hear)

    def _hear(self, frame: Any) -> None:
        self._moved.add(frame)
        self._silent.discard(frame)  # its new document may answer

    @property
    def _used_frames(self) -> tuple[Any, Any]:
        """The page, and the frame in it where the element is that is used."""
        return self._page.main_frame, self._frame

    def _is_of_page(self, request: Any) -> bool:
        """Whether it asks for a page, and not for a frame beside what is used."""
        if not request.is_navigation_request():
            return False
        frame = _frame(request)
        return frame is None or frame is self._frame or frame.parent_frame is None

    def _note_page(self, request: Any) -> None:
        if request.is_navigation_request():
            frame = _frame(request)
            if frame in self._used_frames:
                self._visited.append(request.url)
                self._asking = request
            elif frame is None or frame.parent_frame is None:
                self._visited_by_windows.append(request.url)

    def _begin_request(self, request: Any) -> None:
        self._note_page(request)
        if request.resource_type in ("document", "script", "stylesheet", "fetch", "xhr"):
            self._pending.add(request)

    def _end_request(self, request: Any) -> None:
        self._pending.discard(request)

    async def _check_route(self, route: Any) -> None:
        """Stop what is not allowed before it leaves the page: the page stays as it is."""
        try:
            self._gate.policy.check_url(route.request.url)
        except HostNotAllowed:
            self._note_page(route.request)  # of a window's first page there is no other event
            await route.abort("aborted")
        else:
            await route.continue_()

    # -- observing --------------------------------------------------------------------------------------------------

    async def _observe(self) -> Document:
        if self._browser is None:
            await self._start()
            self._gate.policy.check_url(self._url)
            await self._go(self._page.goto(self._url, wait_until="domcontentloaded"))
        return await self._read()

    async def _read(self) -> Document:
        self._view = await look(self._page, self._silent)
        document = read_document(self._view.tree, self._view.url, mark=MARK)
        return replace(document, screenshot=self._picture)

    async def _go(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do what may lead to another page, and wait for it. Raises HostNotAllowed, PageNotLoaded."""
        before = self._page
        # What was asked for before has had its time.
        for found in (self._pending, self._opened, self._visited, self._visited_by_windows, self._moved):
            found.clear()
        try:
            await self._finish(work)
        except ToolError:
            await self._go_back(before)
            raise
        await self._take_picture()

    async def _finish(self, work: Coroutine[Any, Any, Any]) -> None:
        try:
            await work
            await self._settle()
            await self._go_on_in_window()
        except playwright_error() as error:
            self._raise_refusal()
            if not self._asked:
                raise
            raise PageNotLoaded(f"{self._asked[-1]} did not answer: {_first_line(error)}") from error
        self._raise_refusal()
        if any(frame.url.startswith(ERROR_PAGE) for frame in self._used_frames):
            raise PageNotLoaded(f"{self._asked[-1]} did not answer")
        if self._visited:
            self._raise_failure()
            await look(self._page, self._silent)  # one that is too large is left again

    @property
    def _asked(self) -> list[str]:
        """The addresses of the page that the last action led to; what a window asked for, if only that was opened."""
        return self._visited or self._visited_by_windows

    async def _go_on_in_window(self) -> None:
        """A link may open its target in a new window; one beside another page is an advertisement, and closed."""
        others = list(self._opened)
        if others and not self._visited:
            self._page = others.pop()
            await self._settle()
        for page in others:
            await page.close()

    async def _go_back(self, before: Any) -> None:
        """To the page that was there before what failed."""
        if self._page is not before:
            await self._page.close()
            self._page = before
        elif self._page.main_frame in self._moved:
            await self._page.go_back(wait_until="domcontentloaded")
        elif self._visited and self._frame != self._page.main_frame:
            await self._go_back_in_frame()

    async def _go_back_in_frame(self) -> None:
        def is_it(frame: Any) -> bool:
            return bool(frame == self._frame)

        if self._frame not in self._moved:  # Chromium's own page of an error may still be coming
            with contextlib.suppress(playwright_error()):
                await self._page.wait_for_event("framenavigated", is_it, timeout=1000 * _ERROR_PAGE_S)
        if self._frame in self._moved:
            # `go_back` would wait for another page.
            async with self._page.expect_event("framenavigated", is_it):
                await self._page.evaluate("history.back()")
            await self._settle()

    def _raise_refusal(self) -> None:
        for url in self._asked:
            self._gate.policy.check_url(url)
            refusal = self._gate.refused.get(host_and_port(url))
            if refusal:
                raise refusal

    def _raise_failure(self) -> None:
        url, failure = self._asking.url, self._asking.failure
        if url in self._gate.cut_off:
            raise PageTooLarge(f"{url} has more than {MAX_BYTES:,} bytes")
        if failure:
            raise PageNotLoaded(f"{url} gave no page: {failure}")

    async def _settle(self) -> None:
        """Wait for the pages, scripts and data that were asked for, and until the page stays as it is."""
        until = time.monotonic() + _SETTLE_S
        while True:
            await asyncio.sleep(0.05)
            if self._visited and self._asking.failure:
                return
            is_navigating = any(map(self._is_of_page, self._pending))
            if is_navigating or (self._pending and time.monotonic() < until):
                continue
            try:
                await self._page.wait_for_load_state("domcontentloaded")
                await wait_until_quiet(self._page, max(100, 1000 * (until - time.monotonic())), self._silent)
            except playwright_error():
                if self._page.is_closed():
                    raise
                continue  # another page came meanwhile
            if not self._pending or time.monotonic() >= until:
                return

    async def _take_picture(self) -> None:
        if self._screenshots is None:
            return
        name = f"{self._n_pictures:03}.png"
        await self._page.screenshot(path=self._screenshots / name)
        self._n_pictures += 1
        self._picture = name

    # -- acting -----------------------------------------------------------------------------------------------------

    async def _act(self, operation: Operation, element: Element, text: str) -> None:
        view, before = self._view, self._page
        self._frame = view.part(element.position).frame
        handle = await view.node(element.position)
        document = await self._read()
        position = await self._view.number(self._frame, handle)
        now = next((other for other in document.elements if other.position == position), None)
        if position < 0 or now is None or (now.role, now.name) != (element.role, element.name):
            raise StalePage(f"{element} is not on the page any more")
        assert before is self._page
        try:
            await self._do(operation, handle, position, element, text)
        except playwright_error() as error:
            raise ToolError(f"{element} cannot be used: {_first_line(error)}") from error

    async def _do(
        self, operation: Operation, handle: Any, position: int, element: Element, text: str
    ) -> None:
        timeout = 1000 * _CLICK_TIMEOUT_S
        if operation == "TYPE":
            check_text(await handle.get_attribute("type") or "", text, element)
            await self._go(handle.fill(text, timeout=timeout))
        elif operation == "SELECT":
            index = await self._option(handle, text)
            await self._go(handle.select_option(index=index, timeout=timeout))
        else:
            await self._check_form(element, position)
            href = await handle.evaluate("e => e.closest('a[href], area[href]')?.href ?? ''")
            if href and not href.startswith("javascript:"):
                self._gate.policy.check_url(href)  # what the browser refuses by itself is an error, too
            await self._go(handle.click(timeout=timeout))

    async def _option(self, handle: Any, text: str) -> list[int]:
        """The numbers of the options to choose: that one, in a box for many beside those that are chosen."""
        options = await handle.evaluate(
            "box => [...box.options].map(o => [o.label, box.multiple && o.selected])"
        )
        labels = [cut(clean(label), names.MAX_NAME) for label, _ in options]
        if text not in labels:
            raise StalePage(f"the option {text!r} is not on the page any more")
        return [*(i for i, (_, is_chosen) in enumerate(options) if is_chosen), labels.index(text)]

    async def _check_form(self, element: Element, position: int) -> None:
        """Raise ToolError where the browser would ask for what is missing, and send nothing."""
        if not element.is_submit:
            return
        control = await self._view.invalid(position)
        if control is not None:
            asked = names.name(control, "", lambda _: None)
            raise ToolError(f"the form is not sent: it asks for {asked!r}")


def _frame(request: Any) -> Any:
    """The frame that asks; None for a window that is only being opened."""
    try:
        return request.frame
    except playwright_error():
        return None


def find_browser() -> str | None:
    """The program of an installed Chromium or Chrome; None leaves it to Playwright, which knows its own."""
    found = (shutil.which(name) for name in _PROGRAMS)
    mac = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
    return next(filter(None, found), str(mac) if sys.platform == "darwin" and mac.exists() else None)


def _playwright() -> Any:
    try:
        from playwright.async_api import async_playwright
    except ImportError as error:
        raise PageError("a browser needs the extra: pip install 'lumos-edge[browser]'") from error
    return async_playwright


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]
