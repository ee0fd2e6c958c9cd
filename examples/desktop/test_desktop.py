"""The real window, with real weights: `python -m pytest examples/desktop` (CI does, where PySide6 is installed).

Without a display: QT_QPA_PLATFORM=offscreen.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import shiboken6
from PySide6.QtCore import Qt, QTimer
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

sys.path.insert(0, str(Path(__file__).parent))  # as `python app.py` does

from window import Window

from lumos_edge import Answer, Finished, Passage, Task, Trajectory, pull

LEFT = Qt.MouseButton.LeftButton
QUESTION = "Tom has 3 apples and buys 4 more. How many apples does he have?"
CONTENT = os.urandom(8_000_000)


def wait(until: Callable[[], bool], what: str) -> None:
    """Let the window live until that is so."""
    give_up = time.monotonic() + 300  # nothing is measured: a busy machine is slow, a dead window never ends
    while not until():
        QTest.qWait(5)
        assert time.monotonic() < give_up, what


@pytest.fixture(scope="session")
def application() -> QApplication:
    return QApplication([])


@pytest.fixture
def window(application: QApplication) -> Iterator[Window]:
    shown = Window()
    shown.show()
    yield shown
    shown.close()
    # Here: Python's collector would delete it in whatever thread it happens to run, and Qt does not stand that.
    shiboken6.delete(shown)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("session")]


def lines(window: Window) -> list[tuple[str, str]]:
    items = [window.steps.topLevelItem(row) for row in range(window.steps.topLevelItemCount())]
    return [(item.text(0).strip(), item.text(1)) for item in items]


def is_idle(window: Window) -> bool:
    return not window.cancel.isEnabled()


def ask(window: Window, question: str) -> None:
    window.question.setText(question)
    QTest.mouseClick(window.ask, LEFT)


@pytest.fixture
def nano() -> None:
    """The weights of the user's own home, pulled if they are not there."""
    pull("nano")


def choose(window: Window, pack: str) -> None:
    window.packs.setCurrentIndex(window.packs.findData(pack))


def test_a_question_is_answered_live(nano: None, window: Window) -> None:
    choose(window, "nano")
    ticks, texts = [], set()
    timer = QTimer()
    timer.timeout.connect(lambda: ticks.append(1))
    timer.timeout.connect(lambda: texts.add(tuple(lines(window))))
    timer.start(1)
    ask(window, QUESTION)
    assert not window.ask.isEnabled()
    wait(lambda: is_idle(window), "the answer")
    assert window.answer.text() == "7"
    shown = lines(window)
    assert shown[0][0].startswith("Subgoal 1: ")
    assert any(text.startswith("R1 = Calculator(") and result == "7" for text, result in shown)
    # The window lived meanwhile, and showed the steps as they grew.
    assert len(ticks) > 10
    assert len(texts) > 5


def test_a_question_is_cancelled_and_the_next_one_answered(nano: None, window: Window) -> None:
    choose(window, "nano")
    ask(window, QUESTION)
    wait(lambda: bool(lines(window)), "a step")
    QTest.mouseClick(window.cancel, LEFT)
    wait(lambda: is_idle(window), "the end")
    assert window.state.text() == "cancelled"
    assert window.answer.text() == ""
    ask(window, QUESTION)
    wait(lambda: is_idle(window), "the answer")
    assert window.answer.text() == "7"


def test_closing_the_window_ends_the_run(nano: None, window: Window) -> None:
    choose(window, "nano")
    ask(window, QUESTION)
    wait(lambda: bool(lines(window)), "a step")
    window.close()  # the fixture looks for what is left


def test_a_folder_is_attached_and_detached(window: Window, tmp_path: Path) -> None:
    (tmp_path / "boiler.md").write_text("The boiler was serviced in May 2024.")
    window.session.attach(str(tmp_path))
    wait(lambda: is_idle(window) and bool(window.knowledge), "the pack")
    assert window.folders.text() == tmp_path.name
    assert Path(window.knowledge[str(tmp_path)]).is_file()
    QTest.mouseClick(window.detach, LEFT)
    assert not window.knowledge
    window.session.attach(str(tmp_path / "nowhere"))
    wait(lambda: "does not exist" in window.state.text(), "the reason")


def test_sources_are_plain_text(window: Window) -> None:
    passage = Passage("<b>Boiler</b>", "Serviced in <i>May 2024</i>.", "notes", "boiler.md")
    window._show_event(
        Finished(Trajectory(Task("When?"), "iterative", (), Answer("<u>May</u>", "When?", (passage,))))
    )
    assert window.sources.isVisible()
    assert window.sources.toPlainText() == "<b>Boiler</b> (boiler.md)\nServiced in <i>May 2024</i>."
    assert window.answer.text() == "<u>May</u>"
    assert window.answer.textFormat().name == "PlainText"


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A home with a pack of the user's own, on a server that sends half of it and waits for the event."""
    home, go_on = tmp_path / "home", threading.Event()
    monkeypatch.setenv("LUMOS_EDGE_HOME", str(home))

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            start = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
            self.send_response(206 if start else 200)
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
            self.send_header("Content-Length", str(len(CONTENT) - start))
            self.end_headers()
            for offset in range(start, len(CONTENT), 1 << 16):
                if offset >= len(CONTENT) // 2:
                    go_on.wait()
                self.wfile.write(CONTENT[offset : offset + (1 << 16)])

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (home / "config" / "models").mkdir(parents=True)
    (home / "config" / "models" / "mine.toml").write_text(
        f"""title = "Mine"
description = "of my own"
formulation = "onetime"
template = "fewshot"
tools = ["maths"]
n_ctx = 2048

[base]
file = "mine.gguf"
file_type = "Q4_1"
size_bytes = {len(CONTENT)}
sha256 = "{hashlib.sha256(CONTENT).hexdigest()}"
licence = "Apache-2.0"
url = "http://127.0.0.1:{server.server_port}/mine.gguf"
"""
    )
    yield go_on
    go_on.set()
    server.shutdown()
    server.server_close()


def test_a_pack_is_pulled_with_a_bar_and_goes_on_after_a_cancel(
    published: threading.Event, window: Window
) -> None:
    choose(window, "mine")
    assert window.packs.currentText() == "mine (0.0 GB to pull)"
    assert not window.ask.isEnabled()
    QTest.mouseClick(window.pull, LEFT)
    wait(lambda: window.progress.value() > 0, "the bar")
    window.session.cancel()
    published.set()
    wait(lambda: is_idle(window), "the end")
    assert window.state.text() == "cancelled"
    QTest.mouseClick(window.pull, LEFT)
    wait(lambda: is_idle(window), "the pull")
    assert window.state.text() == ""
    assert window.packs.currentText() == "mine"
    assert window.pack == "mine"
    assert not window.pull.isVisible()
    assert window.ask.isEnabled()
