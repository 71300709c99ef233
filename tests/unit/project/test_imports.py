"""What modules may import, beyond the contracts of pyproject.toml (`make lint`)."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import packages_distributions, requires

import grimp
import pytest

PURE = ("scorestream.wallets.core", "scorestream.wallets.scorers")
ALLOWED = {"numpy", "pyarrow", "msgspec", "pydantic", *sys.stdlib_module_names}
# Base class of frozen configuration, and the range of times.
OF_OURS = {"scorestream.infra.config.frozen_model", "scorestream.infra.times"}


@pytest.mark.parametrize("package", PURE)
def test_the_core_and_its_scorers_compute_and_do_nothing_else(package: str) -> None:
    graph = grimp.build_graph("scorestream", include_external_packages=True)
    modules = {package, *graph.find_descendants(package)}
    imported = {name for each in modules for name in graph.find_modules_directly_imported_by(each)}
    strangers = {name for name in imported if not name.startswith(PURE)}
    assert strangers - OF_OURS - ALLOWED == set()


def test_what_applies_a_model_of_a_table_is_light() -> None:
    """Its process has neither Spark nor MLflow nor a library that only training needs."""
    code = "import sys, scorestream.tabular.model.explain; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"pyspark", "mlflow", "sklearn", "optuna", "xgboost", "lightgbm"}
    assert not heavy & set(found.stdout.split())


def test_the_bare_package_needs_what_score_imports_and_no_more() -> None:
    graph = grimp.build_graph("scorestream", include_external_packages=True)
    # Imported only where it runs, with the extra `spark`.
    graph.remove_module("scorestream.sql.shell")
    graph.remove_module("scorestream.udf")
    reached = graph.find_upstream_modules("scorestream.commands.main")
    # Comes with pydantic.
    packages = {name for name in reached if "." not in name} - {"scorestream", "pydantic_core"}
    owners = packages_distributions()
    imported = {owners[name][0].lower() for name in packages - sys.stdlib_module_names}
    assert imported == {
        re.match(r"[\w-]+", line)[0]  # type: ignore[index]
        for line in requires("scorestream") or []
        if "extra ==" not in line
    }


def test_score_starts_without_what_the_extras_bring() -> None:
    code = "import sys, scorestream.commands.main; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"pyspark", "confluent_kafka", "deltalake", "mlflow", "pandas", "duckdb", "sklearn"}
    assert not heavy & set(found.stdout.split())
