"""The constraint engine: the interfaces that only our engine imports, and the metadata that holds its version."""

from PyInstaller.utils.hooks import copy_metadata

hiddenimports = ["llguidance.llamacpp", "llguidance.numpy"]
datas = copy_metadata("llguidance")
