"""The window: a question, the steps as they are written, the answer and what it rests on.

Texts of models and passages are shown as plain text: nothing in them is markup.
"""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtGui import QCloseEvent, QColor, QFont
from PySide6.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QProgressBar,
    QPushButton,
    QSplitter,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)
from session import Session

from lumos_edge import (
    Action,
    Event,
    Executed,
    Finished,
    Grounded,
    Planned,
    TextPiece,
    Trajectory,
    model_packs,
)


class Steps(QTreeWidget):
    """Subgoals, below them actions, beside those their results; a module's text grows while it writes."""

    def __init__(self) -> None:
        super().__init__()
        self.setHeaderLabels(["Step", "Result"])
        self.header().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.header().setSectionResizeMode(1, QHeaderView.ResizeMode.ResizeToContents)
        self.header().setStretchLastSection(False)
        self.setUniformRowHeights(True)
        self.setRootIsDecorated(False)
        self.setAlternatingRowColors(True)
        self.setStyleSheet("QTreeView::item { padding: 3px }")
        self._writing: QTreeWidgetItem | None = None
        self._actions: dict[str, QTreeWidgetItem] = {}  # those without a result yet, by their text

    def clear(self) -> None:
        """Begin a new run."""
        super().clear()
        self._writing = None
        self._actions = {}

    def show_event(self, event: Event) -> None:
        """Show what happened."""
        if isinstance(event, TextPiece):
            self._write(event.text)
        elif isinstance(event, Planned):
            self._end_writing()
            for subgoal in event.subgoals:
                self._add(str(subgoal), is_bold=True)
        elif isinstance(event, Grounded):
            self._end_writing()
            for action in event.actions:
                self._actions[str(action)] = self._add(f"    {action}")
        elif isinstance(event, Finished):
            self._end_writing()  # "I will stop planning."
        elif isinstance(event, Executed):
            self._set_result(event.action, str(event.result), bool(event.result.error))

    def _write(self, text: str) -> None:
        if self._writing is None:
            self._writing = self._add("")
            self._writing.setForeground(0, QColor(Qt.GlobalColor.gray))
        self._writing.setText(0, (self._writing.text(0) + text).replace("\n", " "))

    def _end_writing(self) -> None:
        """The text becomes records, which take its place."""
        if self._writing is not None:
            self.takeTopLevelItem(self.indexOfTopLevelItem(self._writing))
        self._writing = None

    def _add(self, text: str, *, is_bold: bool = False) -> QTreeWidgetItem:
        item = QTreeWidgetItem([text, ""])
        item.setToolTip(0, text.strip())
        if is_bold:
            font = QFont(self.font())
            font.setBold(True)
            item.setFont(0, font)
        self.addTopLevelItem(item)
        self.scrollToItem(item)
        return item

    def _set_result(self, action: Action, text: str, is_error: bool) -> None:
        item = self._actions.pop(str(action), None)
        if item is not None:
            line = text.replace("\n", " ")
            item.setText(1, line if len(line) <= 60 else f"{line[:57]}...")
            item.setToolTip(1, text)
            item.setForeground(1, QColor("#b3261e" if is_error else "#1b6e3c"))


class Window(QWidget):
    """The whole application."""

    def __init__(self) -> None:
        super().__init__()
        self.setWindowTitle("lumos-edge")
        self.resize(860, 640)
        self.session = Session()
        self.knowledge: dict[str, str] = {}  # folder: knowledge pack
        self.packs = QComboBox()
        self.pull = QPushButton("Pull")
        self.folders = QLabel("No folder attached")
        self.attach = QPushButton("Attach folder ...")
        self.detach = QPushButton("Detach")
        self.steps = Steps()
        self.answer = QLabel()
        self.sources = QPlainTextEdit()
        self.progress = QProgressBar()
        self.state = QLabel()
        self.question = QLineEdit()
        self.ask = QPushButton("Ask")
        self.cancel = QPushButton("Cancel")
        self._set_texts()
        self._lay_out()
        self._connect()
        self._list_packs()
        self._end()

    # -- what it looks like -----------------------------------------------------------------------------------------

    def _set_texts(self) -> None:
        self.question.setPlaceholderText("A dozen eggs cost $3. How much are 60 eggs?")
        self.question.setMaxLength(20_000)
        self.answer.setTextFormat(Qt.TextFormat.PlainText)
        self.answer.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.answer.setWordWrap(True)
        font = QFont(self.font())
        font.setPointSize(font.pointSize() + 4)
        font.setBold(True)
        self.answer.setFont(font)
        self.folders.setTextFormat(Qt.TextFormat.PlainText)
        self.state.setTextFormat(Qt.TextFormat.PlainText)
        self.sources.setReadOnly(True)
        self.sources.hide()
        # A bar that comes and goes moves nothing.
        shape = self.progress.sizePolicy()
        shape.setRetainSizeWhenHidden(True)
        self.progress.setSizePolicy(shape)

    def _lay_out(self) -> None:
        top, middle, bottom = QHBoxLayout(), QSplitter(Qt.Orientation.Vertical), QHBoxLayout()
        for widget in (QLabel("Model"), self.packs, self.pull):
            top.addWidget(widget)
        top.addStretch()
        for widget in (self.folders, self.attach, self.detach):
            top.addWidget(widget)
        middle.addWidget(self.steps)
        middle.addWidget(self.sources)
        middle.setStretchFactor(0, 3)
        middle.setStretchFactor(1, 1)
        for widget in (self.question, self.ask, self.cancel):
            bottom.addWidget(widget)
        state = QHBoxLayout()
        state.addWidget(self.state, 1)
        state.addWidget(self.progress)
        layout = QVBoxLayout(self)
        layout.addLayout(top)
        layout.addWidget(middle, 1)
        layout.addWidget(self.answer)
        layout.addLayout(bottom)
        layout.addLayout(state)

    def _connect(self) -> None:
        self.pull.clicked.connect(lambda: self.session.pull(self.pack))
        self.attach.clicked.connect(self._choose_folder)
        self.detach.clicked.connect(self._detach)
        self.ask.clicked.connect(self._ask)
        self.question.returnPressed.connect(self._ask)
        self.cancel.clicked.connect(self.session.cancel)
        self.packs.currentIndexChanged.connect(lambda: self._enable(is_busy=False))
        self.session.started.connect(self._begin)
        self.session.progressed.connect(self._show_progress)
        self.session.happened.connect(self._show_event)
        self.session.attached.connect(self._attached)
        self.session.failed.connect(self.state.setText)
        self.session.ended.connect(self._end)

    # -- what the user does -----------------------------------------------------------------------------------------

    @property
    def pack(self) -> str:
        """The chosen model pack."""
        return str(self.packs.currentData())

    def _ask(self) -> None:
        question = self.question.text().strip()
        if not question or not self.ask.isEnabled():
            return
        self.steps.clear()
        self._show_sources(None)
        self.answer.clear()
        self.session.ask(question, self.pack, tuple(self.knowledge.values()))

    def _choose_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Answer from the documents of this folder")
        if folder:
            self.session.attach(folder)

    def _detach(self) -> None:
        self.knowledge.clear()
        self._show_folders()
        self._enable(is_busy=False)

    # -- what the session says --------------------------------------------------------------------------------------

    def _begin(self, what: str) -> None:
        self.state.setText(f"{what} ...")
        self.progress.setRange(0, 0)  # busy, until a share is known
        self.progress.show()
        self._enable(is_busy=True)

    def _show_progress(self, share: float) -> None:
        self.progress.setRange(0, 1000)
        self.progress.setValue(round(1000 * share))

    def _show_event(self, event: Event) -> None:
        self.steps.show_event(event)
        if isinstance(event, Finished):
            answer = event.trajectory.answer
            self.answer.setText(
                str(answer) if answer is not None else f"No answer: {event.trajectory.message}"
            )
            self._show_sources(event.trajectory)

    def _attached(self, folder: str, pack: str) -> None:
        self.knowledge[folder] = pack
        self._show_folders()

    def _end(self) -> None:
        if self.state.text().endswith(" ..."):  # nothing went wrong
            self.state.clear()
        self.progress.hide()
        self._list_packs()
        self._enable(is_busy=False)
        self.question.setFocus()

    def _show_folders(self) -> None:
        names = ", ".join(Path(folder).name for folder in self.knowledge)
        self.folders.setText(names or "No folder attached")

    def _show_sources(self, trajectory: Trajectory | None) -> None:
        passages = trajectory.sources if trajectory else ()
        texts = [
            f"{passage.title} ({passage.source or passage.pack})\n{passage.text}" for passage in passages
        ]
        self.sources.setPlainText("\n\n".join(texts))
        self.sources.setVisible(bool(passages))

    def _list_packs(self) -> None:
        """Which packs there are; the chosen one stays, at first one that is on this machine."""
        packs = model_packs()
        pulled = next((pack.name for pack in packs if pack.is_pulled), packs[0].name)
        chosen = self.packs.currentData() or pulled
        self.packs.blockSignals(True)
        self.packs.clear()
        for pack in packs:
            size = "" if pack.is_pulled else f" ({pack.size_bytes / 1e9:.1f} GB to pull)"
            self.packs.addItem(f"{pack.name}{size}", pack.name)
            self.packs.setItemData(self.packs.count() - 1, pack.is_pulled, Qt.ItemDataRole.UserRole + 1)
        self.packs.setCurrentIndex(self.packs.findData(chosen))
        self.packs.blockSignals(False)

    def _enable(self, *, is_busy: bool) -> None:
        is_pulled = bool(self.packs.currentData(Qt.ItemDataRole.UserRole + 1))
        self.ask.setEnabled(is_pulled and not is_busy)
        self.cancel.setEnabled(is_busy)
        self.pull.setVisible(not is_pulled)
        self.detach.setVisible(bool(self.knowledge))
        for widget in (self.packs, self.pull, self.attach, self.detach):
            widget.setEnabled(not is_busy)

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802 (Qt's name)
        """End what runs with the window."""
        self.session.close()
        event.accept()
