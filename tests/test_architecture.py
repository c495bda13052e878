"""The packages are layers: a module imports from its own layer and those below, and no modules import in a circle."""

import ast
from collections import defaultdict
from pathlib import Path

import cuts3d_cli

PACKAGE = Path(cuts3d_cli.__file__).parent

LAYERS = (
    "errors", "log", "threads", "jit", "tables", "yaml_text", "config", "core", "store", "backends", "pipeline",
    "stages", "detector", "training", "evaluation", "experiments", "report", "export", "workflow",
    "workflow_run", "api", "cli",
)  # fmt: skip
"""Modules and packages of ``cuts3d_cli``, lowest first."""

MOST_LINES = 400


def modules() -> dict[str, Path]:
    """Every module by its dotted name."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        if "workflow_files" not in path.parts:
            parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports() -> dict[str, set[str]]:
    """The modules that each module imports, inside functions too; what only a type checker reads is left out."""
    known, edges = modules(), defaultdict(set)
    for name, path in known.items():
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                node.body = []
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cuts3d_cli"):
                full = [f"{node.module}.{alias.name}" for alias in node.names]
                edges[name] |= {each if each in known else node.module for each in full}
            elif isinstance(node, ast.Import):
                edges[name] |= {alias.name for alias in node.names if alias.name.startswith("cuts3d_cli")}
    return edges


def layer(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_no_module_imports_from_a_layer_above():
    upward = [
        f"{module} -> {target}"
        for module, targets in imports().items()
        for target in targets
        if layer(module) in LAYERS and layer(target) in LAYERS
        and LAYERS.index(layer(target)) > LAYERS.index(layer(module))
    ]  # fmt: skip
    assert not upward


def test_every_module_has_a_layer():
    assert {layer(module) for module in modules()} - {"", "__main__"} == set(LAYERS)


def test_no_modules_import_in_a_circle():
    edges = imports()
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module in done:
            return
        for target in edges.get(module, ()):
            if target != module and not target.startswith(f"{module}.") and not module.startswith(f"{target}."):
                visit(target, (*path, module))
        done.add(module)

    for module in list(edges):
        visit(module, ())


def test_arrays_only_in_core():
    """``core`` knows no files, configuration or stores."""
    for module, targets in imports().items():
        if layer(module) == "core":
            assert {layer(target) for target in targets} <= {"core", "errors", "jit"}, module


def test_mmdet_only_in_detector():
    for module, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] in ("mmdet", "mmengine", "mmcv") for name in names):
                assert layer(module) == "detector", module


def test_no_file_is_too_long_to_read():
    long = {path.name: n for path in modules().values() if (n := len(path.read_text().splitlines())) > MOST_LINES}
    assert not long
