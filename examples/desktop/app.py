"""A desktop application: `pip install lumos-edge pyside6-essentials`, then `python app.py`.

The window never waits: models are pulled and loaded, folders read and questions answered in the thread of `session`.
"""

from __future__ import annotations

import sys

from PySide6.QtWidgets import QApplication
from window import Window


def main() -> int:
    """Show the window until it is closed."""
    application = QApplication(sys.argv)
    application.setApplicationName("lumos-edge")
    window = Window()
    window.show()
    return application.exec()


if __name__ == "__main__":
    sys.exit(main())
