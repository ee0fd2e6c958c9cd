"""Every module imports only from the layers below its own; the content folders import nothing but lumos_edge."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CONTENT = ("tools", "convert", "models")

# Lowest first. `x/*` stands for the modules of a folder, which may import each other as long as there is no cycle.
LAYERS = (
    "errors",
    "runs",
    "resources",
    "locks",
    "images",
    "knowledge.passage",
    "maths/*",
    "quantities",
    "values",
    "trajectory",
    "actions",
    "toolbox",
    "knowledge/*",
    "functions",
    "mcp_tools",
    "sql/*",
    "web/*",
    "shop/*",
    "pictures",
    "engine",  # the seam alone: what an engine is asked and what it gives
    "grammar",
    "templates",
    "manifest",
    "partial",
    "sources",
    "store",
    "conversion/*",
    "engine/*",
    "reader",
    "domains",
    "loading",
    "planner",
    "grounder",
    "executor",
    "agent",
    "asynchronous",
    "turns",
    "trace",
    "trace_page",
    "scoring",
    "voting",
    "serving/*",
    "freezing/*",
    "cli/*",
    "__main__",
)


def _modules() -> dict[str, ast.Module]:
    """Every module of the package by its name below `lumos_edge`: `engine.llama`, `engine`, and `` for itself."""
    package = ROOT / "lumos_edge"
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        found[".".join(parts).removesuffix("__init__").removesuffix(".")] = ast.parse(path.read_text("utf-8"))
    return found


MODULES = _modules()


def _imported(tree: ast.Module) -> Iterator[str]:
    """Every absolute name that is imported anywhere, also inside functions and for type checking."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _modules_of(tree: ast.Module) -> set[str]:
    """The modules of the package that are imported; `from lumos_edge import __version__` is of the package itself."""
    found = set()
    for name in _imported(tree):
        package, _, rest = name.partition(".")
        if package == "lumos_edge":
            found.add(rest if rest in MODULES else rest.rpartition(".")[0])
    return found - {""}


IMPORTS = {name: _modules_of(tree) - {name} for name, tree in MODULES.items()}


def _layer(module: str) -> int:
    """The position in LAYERS; a folder's own `__init__` may have its own, as the seam of the engine has."""
    folder = module.partition(".")[0]
    return LAYERS.index(module if module in LAYERS else f"{folder}/*")


def test_every_module_has_a_layer_and_every_layer_a_module() -> None:
    layers = {_layer(module) for module in MODULES if module}
    assert layers == set(range(len(LAYERS)))


@pytest.mark.parametrize("module", [name for name in MODULES if name])
def test_a_module_imports_only_from_below(module: str) -> None:
    above = {name for name in IMPORTS[module] if _layer(name) > _layer(module)}
    assert not above


def test_the_package_itself_imports_nothing_but_for_type_checking() -> None:
    checked = [node for node in MODULES[""].body if ast.unparse(node).startswith("if TYPE_CHECKING")]
    names = {name for node in checked for name in _imported(ast.Module([node], []))}
    assert names == {name for name in _imported(MODULES[""]) if name != "importlib"}


def test_no_import_is_part_of_a_cycle() -> None:
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path, module))
        if module not in done:
            for name in sorted(IMPORTS[module]):
                visit(name, (*path, module))
            done.add(module)

    for module in MODULES:
        visit(module, ())


@pytest.mark.parametrize("module", ["planner", "grounder", "reader", "executor"])
def test_the_modules_of_the_loop_do_not_know_each_other(module: str) -> None:
    assert not IMPORTS[module] & {"planner", "grounder", "reader", "executor"}


def test_only_the_engine_and_what_measures_it_import_the_binding() -> None:
    users = {
        name for name, tree in MODULES.items() if any(n.startswith("llama_cpp") for n in _imported(tree))
    }
    assert {name for name in users if not name.startswith(("engine.", "conversion."))} == set()


def test_nothing_imports_content_by_name() -> None:
    for path in (*ROOT.glob("lumos_edge/**/*.py"), *ROOT.glob("tests/**/*.py")):
        names = list(_imported(ast.parse(path.read_text("utf-8"))))
        prefixes = tuple(f"{package}{folder}." for package in ("", "lumos_edge.") for folder in CONTENT)
        assert not [name for name in names if f"{name}.".startswith(prefixes)], path


@pytest.mark.parametrize(
    "path", [path for folder in CONTENT for path in sorted((ROOT / folder).rglob("*.py"))]
)
def test_content_imports_no_other_content(path: Path) -> None:
    names = {name.partition(".")[0] for name in _imported(ast.parse(path.read_text("utf-8")))}
    assert not names & {*CONTENT, "training", "benchmarks", "tests"}
    assert not names & {other.stem for other in path.parent.glob("*.py")}
