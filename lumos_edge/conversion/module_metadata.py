"""What a file says about the module that its weights were trained to be; the runtime reads the same keys."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gguf

from lumos_edge.errors import ConversionError


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

    @property
    def is_set(self) -> bool:
        """Whether the weights were trained to be a module, or several."""
        return self != ModuleMetadata()


def read_module_metadata(path: Path) -> ModuleMetadata:
    """What a GGUF file says of its module. Raises ConversionError when it is no GGUF file."""
    try:
        reader = gguf.GGUFReader(path)
    except (OSError, ValueError, IndexError) as error:
        raise ConversionError(f"{path} cannot be read as GGUF: {error}") from error
    fields = {key: reader.get_field(f"lumos.{key}") for key in ("module", "formulation", "template", "tools")}
    values = {key: field.contents() for key, field in fields.items() if field is not None}
    return ModuleMetadata(**{**values, "tools": tuple(values.get("tools", ()))})
