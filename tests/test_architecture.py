"""Who imports whom, what is packaged, what is tested and what may be committed."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

import hcrnn_pyro

ROOT = Path(__file__).resolve().parents[1]
LARGEST_FILE = 500_000
PACKAGED = {"hcrnn_pyro": "hcrnn_pyro", "models": "hcrnn_pyro.models", "guides": "hcrnn_pyro.guides"}

# What the files of a folder must not import. In a wheel `models` is called `hcrnn_pyro.models`, so its own files name
# each other by relative imports; the same holds for `guides`.
OUTSIDE = {"hcrnn_pyro.models", "hcrnn_pyro.guides", "experiments", "tests"}
FORBIDDEN = {
    "hcrnn_pyro": OUTSIDE | {"models", "guides"},
    "hcrnn_pyro/kernels": {"hcrnn_pyro.nn", "torch.nn"},  # kernels take tensors, never modules
    "models": OUTSIDE | {"models", "guides"},
    "guides": OUTSIDE | {"models", "guides"},
    "experiments": {"hcrnn_pyro.models", "hcrnn_pyro.guides", "tests"},
}
ALLOWED = {"torch.nn.functional"}


def python_files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imports(source: str) -> set[str]:
    """Dotted names that a file imports absolutely; relative imports stay inside their package and are left out."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def leaving_relative_imports(source: str, depth: int) -> list[int]:
    """Lines of relative imports with more dots than the file lies deep in its top-level folder."""
    nodes = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom))
    return [node.lineno for node in nodes if node.level > depth]


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_imports_follow_the_arrows(folder: str) -> None:
    found = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in python_files(folder)
        for name in sorted(imports(path.read_text(encoding="utf-8")))
        if any(within(name, package) for package in FORBIDDEN[folder])
        and not any(within(name, package) for package in ALLOWED)
    ]
    assert not found, found


@pytest.mark.parametrize("folder", [*PACKAGED, "experiments"])
def test_relative_imports_stay_inside_their_folder(folder: str) -> None:
    found = {}
    for path in python_files(folder):
        depth = len(path.relative_to(ROOT).parts) - 1
        if lines := leaving_relative_imports(path.read_text(encoding="utf-8"), depth):
            found[str(path.relative_to(ROOT))] = lines
    assert not found, found


def test_import_walk_sees_every_form() -> None:
    source = "import a.b as c\nfrom d.e import f\ndef g():\n    from h import i\nfrom . import j\nfrom .. import k\n"
    assert imports(source) == {"a.b", "d.e.f", "h.i"}
    assert leaving_relative_imports(source, depth=1) == [6]


def test_packages_equal_the_tree() -> None:
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    in_tree = set()
    for folder, package in PACKAGED.items():
        for parent in {path.parent for path in python_files(folder)}:
            in_tree.add(".".join([package, *parent.relative_to(ROOT / folder).parts]))
            assert (parent / "__init__.py").is_file(), f"{parent.relative_to(ROOT)} has no __init__.py"
    assert set(setuptools["packages"]) == in_tree
    assert setuptools["package-dir"] == {package: folder for folder, package in PACKAGED.items()}


def test_every_command_has_a_smoke_test() -> None:
    tests = python_files("tests")
    text = "\n".join(path.read_text(encoding="utf-8") for path in tests if path != Path(__file__).resolve())
    untested = []
    for path in python_files("experiments"):
        if '__name__ == "__main__"' not in path.read_text(encoding="utf-8"):
            continue
        named = any(test.name.startswith("test_") and path.stem in test.stem for test in tests)
        if not named and not re.search(rf"\bexperiments\.{path.stem}\b", text):
            untested.append(path.stem)
    assert not untested, f"no test runs experiments.{untested}"


@cache
def committed_files() -> tuple[Path, ...]:
    """What git tracks, or would track after `git add .`."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return tuple(path for name in listing.split("\0") if name and (path := ROOT / name).is_file())


def test_no_large_file_is_committed() -> None:
    large = [str(path.relative_to(ROOT)) for path in committed_files() if path.stat().st_size > LARGEST_FILE]
    assert not large, large


def test_no_file_names_a_place_on_one_machine() -> None:
    folders = "|".join(["home", "mnt", "opt", "root", "tmp", "work", "Users"])
    place = re.compile(rf"(?<![\w.~/>}}-])/(?:{folders})/")
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in committed_files()
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1)
        if place.search(line)
    ]
    assert not found, found


@pytest.mark.parametrize(("name", "module"), [("fit", "lightning"), ("holm", "scipy.stats")])
def test_reading_a_run_does_not_wait_for_what_only_some_need(name, module):
    brought = f"{module!r} in sys.modules"
    code = f"import sys, hcrnn_pyro; print({brought}, callable(hcrnn_pyro.{name}), {brought})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "True"]


def test_every_exported_name_is_there():
    assert all(callable(getattr(hcrnn_pyro, name)) for name in hcrnn_pyro.__all__)
