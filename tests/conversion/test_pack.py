"""A pack that was made is one that the runtime reads."""

from __future__ import annotations

import hashlib
from pathlib import Path

import gguf
import pytest
from click.testing import CliRunner

from lumos_edge.cli.convert import command
from lumos_edge.conversion.pack import NewPack, describe_base, licence_of, write_pack
from lumos_edge.errors import AdapterMismatch, ConversionError
from lumos_edge.manifest import find_manifest, find_pack, read_manifest
from lumos_edge.store import Store


def write_gguf(path: Path, kind: str, module: str | None = None) -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type(kind)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_K_M)
    if module is not None:
        writer.add_string("lumos.module", module)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_gguf(tmp_path / "base.gguf", "model")


def make(base: Path, **adapters: Path) -> NewPack:
    like = find_pack("nano")
    return NewPack(
        "mine", like, describe_base(base, "mine", licence_of(like)), adapters, ("https://example.org/x",)
    )


def test_the_manifest_says_what_the_files_are(tmp_path: Path, base: Path) -> None:
    adapter = write_gguf(tmp_path / "p.gguf", "adapter", "planner")
    manifest = read_manifest(write_pack(make(base, planner=adapter), tmp_path / "packs"))
    nano = find_manifest("nano")
    assert (manifest.name, manifest.formulation, manifest.tools) == ("mine", nano.formulation, nano.tools)
    assert (manifest.base.size_bytes, manifest.base.file_type) == (base.stat().st_size, "Q4_K_M")
    assert manifest.base.sha256 == hashlib.sha256(base.read_bytes()).hexdigest()
    assert isinstance(manifest.planner.adapter, Path)
    assert manifest.planner.adapter.read_bytes() == adapter.read_bytes()
    assert manifest.grounder.adapter is None


def test_the_card_names_licence_sources_and_hashes(tmp_path: Path, base: Path) -> None:
    pack = make(base)
    write_pack(pack, tmp_path / "packs")
    card = (tmp_path / "packs" / "mine.md").read_text()
    assert all(text in card for text in ("Apache-2.0", "https://example.org/x", pack.base.sha256))


@pytest.mark.parametrize(
    ("kind", "module", "message"),
    [
        ("adapter", "grounder", "trained as a grounder, expected a planner"),
        ("model", None, "is a model, expected an"),
    ],
)
def test_an_adapter_in_the_wrong_place_is_refused(
    tmp_path: Path, base: Path, kind: str, module: str | None, message: str
) -> None:
    with pytest.raises(AdapterMismatch, match=message):
        write_pack(make(base, planner=write_gguf(tmp_path / "p.gguf", kind, module)), tmp_path / "packs")
    assert not (tmp_path / "packs").exists()


def test_a_base_without_a_file_type_is_refused(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "llama")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ConversionError, match="has the file type None, expected one that llama"):
        describe_base(tmp_path / "x.gguf", "mine", "MIT")


def test_a_pack_that_exists_is_kept(tmp_path: Path, base: Path) -> None:
    write_pack(make(base), tmp_path / "packs")
    with pytest.raises(ConversionError, match=r"mine\.md exists"):
        write_pack(make(base), tmp_path / "packs")


def test_the_command_makes_a_pack_that_can_run(base: Path) -> None:
    arguments = ["pack", "mine", "--like", "nano", "--base", str(base)]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    manifest = find_manifest("mine")
    assert result.output.strip() == str(manifest.source)
    assert Store().path(manifest.base).read_bytes() == base.read_bytes()


def test_a_recipe_says_itself_what_it_runs_like(base: Path) -> None:
    arguments = ["pack", "lumos-maths-onetime-7b", "--base", str(base)]
    CliRunner().invoke(command, arguments, catch_exceptions=False)
    manifest = find_manifest("lumos-maths-onetime-7b")
    assert (manifest.formulation, manifest.planner.template[:5]) == ("onetime", "lumos")
