"""What a file says about the module that its weights were trained to be; the runtime reads the same keys."""

from __future__ import annotations

from dataclasses import dataclass

import gguf


@dataclass(frozen=True)
class ModuleMetadata:
    """Keys `lumos.module`, `lumos.formulation`, `lumos.template` (strings) and `lumos.tools` (a list of
    strings).
    """

    module: str | None = None
    formulation: str | None = None
    template: str | None = None
    tools: tuple[str, ...] = ()

    def add_metadata(self, writer: gguf.GGUFWriter) -> None:
        """Write the keys that are set."""
        for key, value in (
            ("module", self.module),
            ("formulation", self.formulation),
            ("template", self.template),
        ):
            if value is not None:
                writer.add_string(f"lumos.{key}", value)
        if self.tools:
            writer.add_array("lumos.tools", list(self.tools))
