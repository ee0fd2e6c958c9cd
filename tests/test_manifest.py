"""A manifest says exactly what it has to say, or the error says what it should have said."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lumos_edge import manifest
from lumos_edge.errors import ManifestError, ModelNotFound, UserFileError
from lumos_edge.manifest import Manifest, ModelFile, Recipe
from lumos_edge.resources import config_folder

SHA256 = "ab" * 32

GOOD = f"""
title = "Mine"
description = "a test"
formulation = "iterative"
template = "fewshot"
tools = ["maths"]
n_ctx = 2048

[base]
file = "mine.gguf"
file_type = "Q4_K_M"
size_bytes = 1_000
sha256 = "{SHA256}"
licence = "MIT"

[[base.parts]]
package = "mine-1"
version = "1.0"
member = "mine_1/*.bin"
"""


def _write(folder: Path, text: str, name: str = "mine") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_manifest_is_read_into_what_the_agent_needs(tmp_path: Path) -> None:
    pack = manifest.read_manifest(_write(tmp_path, GOOD))
    assert (pack.name, pack.formulation, pack.tools, pack.n_ctx) == ("mine", "iterative", ("maths",), 2048)
    assert (pack.base.pack, pack.base.file, pack.base.size_bytes) == ("mine", "mine.gguf", 1000)
    assert (pack.base.sha256, pack.base.file_type, pack.base.licence) == (SHA256, "Q4_K_M", "MIT")
    assert pack.base.url is None
    assert [part.requirement for part in pack.base.parts] == ["mine-1==1.0"]
    assert pack.planner.template == pack.grounder.template == pack.reader.template == "fewshot"
    assert pack.planner.adapter is None
    assert pack.files == (pack.base,)


def test_a_module_can_have_its_own_template_and_a_shipped_adapter(tmp_path: Path) -> None:
    text = GOOD + '[planner]\ntemplate = "lumos"\nadapter = "mine/planner.gguf"\n'
    pack = manifest.read_manifest(_write(tmp_path, text))
    assert pack.planner.template == "lumos"
    assert pack.planner.adapter == tmp_path / "mine" / "planner.gguf"
    assert pack.grounder.template == "fewshot"


def test_an_adapter_with_an_address_is_pulled_like_the_base(tmp_path: Path) -> None:
    download = f'url = "https://example.org/g.gguf"\nsha256 = "{SHA256}"\nsize_bytes = 7\n'
    pack = manifest.read_manifest(_write(tmp_path, GOOD + f'[grounder]\nadapter = "g.gguf"\n{download}'))
    assert isinstance(pack.grounder.adapter, ModelFile)
    assert pack.files == (pack.base, pack.grounder.adapter)


def test_a_projector_is_pulled_after_the_base(tmp_path: Path) -> None:
    text = f'[projector]\nfile = "p.gguf"\nurl = "https://example.org/p.gguf"\nsha256 = "{SHA256}"\nsize_bytes = 7\n'
    pack = manifest.read_manifest(_write(tmp_path, GOOD + text))
    assert pack.projector
    assert (pack.projector.file, pack.projector.size_bytes, pack.projector.pack) == ("p.gguf", 7, "mine")
    assert pack.files == (pack.base, pack.projector)


def test_without_a_common_template_every_module_needs_one(tmp_path: Path) -> None:
    text = GOOD.replace('template = "fewshot"\n', "")
    with pytest.raises(ManifestError, match=r"planner.template is missing, expected one of fewshot, lumos"):
        manifest.read_manifest(_write(tmp_path, text))
    own = "".join(f'[{module}]\ntemplate = "lumos"\n' for module in ("planner", "grounder", "reader"))
    assert manifest.read_manifest(_write(tmp_path, text + own)).reader.template == "lumos"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("n_ctx = 2048", "n_cxt = 2048", "n_ctx is missing, expected a positive whole number"),
        ("n_ctx = 2048", "n_ctx = 2048\nwyh = 'x'", "unknown key 'wyh', expected why"),
        ("n_ctx = 2048", "n_ctx = '2048'", "n_ctx is '2048', expected a positive whole number"),
        ("n_ctx = 2048", "n_ctx = true", "n_ctx is True, expected a positive whole number"),
        ("n_ctx = 2048", "n_ctx = 0", "n_ctx is 0, expected a positive whole number"),
        ('"iterative"', '"both"', "formulation is 'both', expected one of iterative, onetime"),
        ('"fewshot"', '"chatml"', "template is 'chatml', expected one of fewshot, lumos, lumos-eval"),
        ('["maths"]', '"maths"', "tools is 'maths', expected a list of texts"),
        ('["maths"]', "[1]", "tools is [1], expected a list of texts"),
        ('["maths"]', "[]", "tools is [], expected a list of texts"),
        ('"Mine"', '" "', "title is ' ', expected text that is not empty"),
        (SHA256, "AB" * 32, f"base.sha256 is '{'AB' * 32}', expected 64 lower-case hexadecimal digits"),
        ("mine.gguf", "../mine.gguf", "base.file is '../mine.gguf', expected the name of a file"),
        ("mine.gguf", "C:mine.gguf", "base.file is 'C:mine.gguf', expected the name of a file"),
        ('licence = "MIT"', 'license = "MIT"', "base.licence is missing"),
        (
            'licence = "MIT"',
            'licence = "MIT"\nurl = "ftp://x/y"',
            "base.url is 'ftp://x/y', expected an http",
        ),
        ("mine-1", "--index-url=evil", "base.parts[0].package is '--index-url=evil', expected the name"),
        ("mine-1", "mine @ http://evil", "base.parts[0].package is 'mine @ http://evil', expected the name"),
        ('"1.0"', '"*"', "base.parts[0].version is '*', expected one exact version"),
        ("member", "members", "base.parts[0].member is missing, expected text"),
        ("[base]", "[bases]", "base.file is missing, expected the name of a file"),
        (
            "[base]",
            "[planner]\nadapter = '../x.gguf'\n[base]",
            "planner.adapter is '../x.gguf', expected a file",
        ),
        (
            "[base]",
            "[planner]\nadapter = '/x.gguf'\n[base]",
            "planner.adapter is '/x.gguf', expected a file in",
        ),
        ("[base]", "planner = 1\n[base]", "planner is 1, expected a table"),
        ("[base]", "[planner]\nsize_bytes = 1\n[base]", "unknown key 'planner.size_bytes'"),
        ("[base]", "[projector]\nfile = 'p.gguf'\n[base]", "projector.size_bytes is missing"),
        ("[base]", "projector = 'p.gguf'\n[base]", "projector is 'p.gguf', expected a table"),
        ("[[base.parts]]", "[base.parts]", "base.parts is {'package': 'mine-1'"),
        ("[base]", "[base", "not a TOML file: "),
    ],
)
def test_an_error_names_the_file_the_key_what_was_found_and_what_was_expected(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in GOOD
    path = _write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(ManifestError, match=re.escape(str(path)) + ".*" + re.escape(message)):
        manifest.read_manifest(path)


def test_a_manifest_that_is_not_text_or_not_there_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ManifestError, match="not a TOML file"):
        manifest.read_manifest(path)
    with pytest.raises(ModelNotFound, match=r"none\.toml: No such file"):
        manifest.read_manifest(tmp_path / "none.toml")


def test_every_built_in_pack_is_good_and_complete() -> None:
    packs = {pack.name: pack for pack in manifest.all_manifests()}
    assert list(packs) == ["base", "nano", "small"]
    for pack in packs.values():
        assert (pack.formulation, pack.tools, pack.n_ctx) == ("onetime", ("maths",), 4096)
        assert pack.base.parts
        # A branch can move: only a commit names the same bytes for ever.
        assert pack.base.url is None or re.search(r"/resolve/[0-9a-f]{40}/", pack.base.url)
        assert pack.base.url is None or pack.base.url.endswith(f"/{pack.base.file}")
    assert (len(packs["base"].base.parts), len(packs["small"].base.parts)) == (22, 6)
    assert packs["base"].why


def test_the_papers_checkpoints_are_recipes_that_say_how_to_build_them() -> None:
    recipes = [pack for pack in manifest.all_packs() if isinstance(pack, Recipe)]
    assert len(recipes) == 8
    for recipe in recipes:
        _, plan, ground = recipe.name, *recipe.checkpoints
        assert recipe.formulation in recipe.name
        assert plan.startswith("ai2lumos/lumos_")
        assert ground == plan.replace("_plan_", "_ground_")
        assert plan.endswith(recipe.formulation + ("-13B" if recipe.name.endswith("-13b") else ""))
        assert all(command.startswith("lumos-edge convert ") for command in recipe.commands)


def test_a_recipe_is_found_but_does_not_run() -> None:
    assert isinstance(manifest.find_pack("lumos-maths-onetime-7b"), Recipe)
    with pytest.raises(ModelNotFound, match=r"has to be built first: `lumos-edge models show lumos-"):
        manifest.find_manifest("lumos-maths-onetime-7b")


def test_an_unknown_name_gets_a_suggestion_and_the_list() -> None:
    with pytest.raises(
        ModelNotFound, match=r"no model pack 'nanoo': did you mean nano\? there is base, .*, small"
    ):
        manifest.find_manifest("nanoo")


def test_a_users_pack_is_found_by_name_and_replaces_a_built_in_one(tmp_path: Path) -> None:
    _write(config_folder() / "models", GOOD)
    _write(config_folder() / "models", GOOD.replace("2048", "1024"), name="nano")
    assert manifest.find_manifest("mine").n_ctx == 2048
    assert manifest.find_manifest("nano").n_ctx == 1024
    assert [pack.name for pack in manifest.all_manifests()] == ["base", "mine", "nano", "small"]


def test_a_manifest_anywhere_is_found_by_its_path(tmp_path: Path) -> None:
    path = _write(tmp_path, GOOD)
    assert manifest.find_manifest(path) == manifest.find_manifest(str(path))


def test_one_bad_pack_does_not_stop_another() -> None:
    _write(config_folder() / "models", "title = 1")
    assert isinstance(manifest.find_manifest("nano"), Manifest)
    with pytest.raises(ManifestError, match=r"mine\.toml"):
        manifest.all_packs()


def test_the_default_pack_is_base_until_the_user_chooses() -> None:
    assert manifest.default_pack() == "base"
    manifest.choose_default_pack("nano")
    assert manifest.default_pack() == "nano"
    with pytest.raises(ModelNotFound, match="did you mean small"):
        manifest.choose_default_pack("smal")
    assert manifest.default_pack() == "nano"


def test_a_choice_that_cannot_be_saved_is_an_error() -> None:
    config_folder().parent.mkdir(parents=True)
    config_folder().write_text("a file where the folder should be")
    with pytest.raises(UserFileError, match=r"cannot write .*default-pack"):
        manifest.choose_default_pack("nano")
