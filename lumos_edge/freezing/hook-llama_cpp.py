"""The binding loads its libraries by path out of its own folder."""

import re
from pathlib import Path

from PyInstaller.utils.hooks import get_package_paths

# A Linux wheel holds libllama.so, libllama.so.0 and libllama.so.0.5.0 as three copies of one file. The first is opened
# by path, and only ggml's second is asked for by another library that is loaded before it.
_COPY = re.compile(r"lib(?!ggml).*\.so\.\d+|lib.*\.so\.\d+\..*")

_folder = Path(get_package_paths("llama_cpp")[1]) / "lib"
binaries = [
    (str(file), "llama_cpp/lib")
    for file in sorted(_folder.iterdir())
    if file.is_file() and not _COPY.fullmatch(file.name)
]
excludedimports = ["llama_cpp.server"]
