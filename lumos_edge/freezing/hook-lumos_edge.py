"""What PyInstaller cannot see of lumos_edge: modules that are imported when they are needed, and content."""

from PyInstaller.utils.hooks import collect_data_files, collect_submodules

from lumos_edge.resources import content_folder

# Converting, training and the command line are no part of an application; what it imports itself is found as usual.
_LEFT_OUT = (
    "cli",
    "conversion",
    "convert",
    "freezing",
    "mcp_tools",
    "models",
    "serving",
    "tools",
    "__main__",
)

hiddenimports = collect_submodules(
    "lumos_edge",
    filter=lambda name: not f"{name}.".startswith(tuple(f"lumos_edge.{part}." for part in _LEFT_OUT)),
)

# Tool packs and manifests are files that are found by name. In a checkout they lie beside the package.
datas = collect_data_files("lumos_edge", includes=["*.html", "*.json", "*.toml"])
for _kind in ("tools", "models"):
    _folder = content_folder(_kind)
    for _file in sorted(_folder.rglob("*")):
        _inner = _file.relative_to(_folder)
        if _file.is_file() and not any(part.startswith((".", "_")) for part in _inner.parts):
            datas.append((str(_file), f"lumos_edge/{_kind}/{_inner.parent.as_posix()}"))

excludedimports = ["IPython", "gguf", "matplotlib", "peft", "tkinter", "torch", "transformers"]
