"""The library's rooms: imports point downwards, no module knows Snakemake, no room's door imports anything."""

from __future__ import annotations

import ast

from histobench import codehash

# Lower layers first; a module may import from its own layer and from lower ones.
LAYERS = [
    {
        "errors",
        "bounds",
        "encoding",
        "yamlfiles",
        "files",
        "filelists",
        "processes",
        "seeds",
        "devices",
        "software",
        "paths",
        "project",
        "sniff",
        "warm",
    },
    {"results"},
    {"cohorts", "imaging", "expression", "splits", "codehash"},
    {"networks", "training", "encoders"},
    {"methods"},
    {"evaluation"},
    {"figures"},
    {"slides"},
    {"report"},
    {
        "config",
        "registry",
        "plan",
        "runtime",
        "cli",
        "__main__",
    },
]
RANK = {room: rank for rank, rooms in enumerate(LAYERS) for room in rooms}


def modules(project):
    library = project / "workflow/lib/histobench"
    for file in sorted(library.rglob("*.py")):
        parts = file.relative_to(library).with_suffix("").parts
        yield file, parts


def test_imports_point_downwards(project):
    wrong = []
    for file, parts in modules(project):
        if parts == ("__init__",):
            continue
        for module in codehash._direct_imports(".".join(["histobench", *parts]).removesuffix(".__init__")):
            target = module.split(".")[1:2]
            if target and RANK[target[0]] > RANK[parts[0]] and not _only_a_type(file, module):
                wrong.append(f"{'/'.join(parts)} imports {module}")
    assert not wrong, "\n".join(wrong)


def _only_a_type(file, module):
    """Whether the import stands under TYPE_CHECKING, where it costs and couples nothing at run time."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in ast.walk(node):
                if isinstance(child, ast.ImportFrom) and child.module and module.startswith(child.module):
                    return True
    return False


def test_the_library_does_not_know_snakemake(project):
    for file, _ in modules(project):
        for node in ast.walk(ast.parse(file.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not any(name.split(".")[0] == "snakemake" for name in names), file


def test_a_rooms_door_has_a_docstring_and_imports_nothing(project):
    rooms = [file for file, parts in modules(project) if parts[-1] == "__init__"]
    assert len(rooms) >= 10
    for file in rooms:
        tree = ast.parse(file.read_text())
        assert ast.get_docstring(tree), file
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
        if file.parent.name == "histobench":  # finds what people call when they ask for it
            names = {node.module or "" for node in imports if isinstance(node, ast.ImportFrom)}
            own = {name for name in names if name.startswith("histobench")}
            assert all(_only_a_type(file, name) for name in own) and own, file
            assert names - own == {"importlib", "types", "typing"}
        else:
            assert not imports, file


def test_scripts_are_thin(project):
    for file in (project / "workflow/scripts").glob("*.py"):
        lines = [line for line in file.read_text().splitlines() if line.strip()]
        assert len(lines) <= 20, file
