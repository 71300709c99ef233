"""The packages of the library stand in layers: none imports what imports it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from graphlib import TopologicalSorter
from pathlib import Path

from scorestream.settings import PROJECT_ROOT

LIBRARY = PROJECT_ROOT / "lib" / "scorestream"


def imported(file: Path) -> set[str]:
    """What a file imports of the library: the packages and modules at its top."""
    names = {
        node.module
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module
    }
    return {name.split(".")[1] for name in names if name.startswith("scorestream.")}


def test_packages_import_downwards_only() -> None:
    layers: defaultdict[str, set[str]] = defaultdict(set)
    for file in LIBRARY.rglob("*.py"):
        own = file.relative_to(LIBRARY).parts[0].removesuffix(".py")
        layers[own] |= imported(file) - {own}
    order = list(TopologicalSorter(layers).static_order())
    assert order.index("core") < order.index("io") < order.index("scoring")
    assert order.index("scoring") < order.index("streaming")


def test_what_applies_a_model_of_a_table_is_light() -> None:
    """Its process has neither Spark nor MLflow nor a library that only training needs."""
    code = "import sys, scorestream.tabular.explain; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"pyspark", "mlflow", "sklearn", "optuna", "xgboost", "lightgbm"}
    assert not heavy & set(found.stdout.split())
