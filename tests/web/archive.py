"""Records what a transport answers as an HTTP archive, as a browser's developer tools do."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from lumos_edge.web.transport import Request, Response, Transport


@dataclass
class ArchivingTransport:
    """The same answers, kept."""

    transport: Transport
    entries: list[dict[str, Any]] = field(default_factory=list)

    def send(self, request: Request) -> Response:
        response = self.transport.send(request)
        is_redirected = response.url != request.url
        post = {"postData": {"text": urlencode(request.fields)}} if request.method == "POST" else {}
        asked = {"method": request.method, "url": request.url, **post}
        page = {"content": {"mimeType": "text/html", "text": response.html}, "redirectURL": ""}
        moved = {"content": {"mimeType": ""}, "redirectURL": response.url}
        self.entries.append({"request": asked, "response": moved if is_redirected else page})
        if is_redirected:
            self.entries.append({"request": {"method": "GET", "url": response.url}, "response": page})
        return response

    def write(self, path: Path) -> Path:
        path.write_text(json.dumps({"log": {"version": "1.2", "entries": self.entries}}))
        return path
