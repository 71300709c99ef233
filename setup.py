"""Packaging of the scorestream library; `make setup` installs it editable from the lock."""

import shutil
import subprocess
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

# The pure core, and `scorestream score`: no Java, no Spark.
CORE = [
    "msgspec~=0.21",
    "numpy~=2.4",
    "pyarrow>=23,<26",
    "pydantic~=2.13",
    "pydantic-settings~=2.13",
    "pyyaml~=6.0",
    "rich>=14,<16",
    "structlog>=25,<27",
]

# Streams, backfills and tables.
SPARK = [
    "cachetools>=7,<9",
    "confluent-kafka~=2.15",
    "cryptography>=45,<51",
    "delta-spark==4.4.0",
    "deltalake~=1.6",
    "duckdb>=1.4,<3",
    "pandas~=2.3",  # PySpark 4.2 warns that pandas 3 is not fully supported
    "prometheus-client~=0.25",
    "pymongo~=4.16",
    "pyspark==4.2.0",
    "sqlglot~=30.30",
]

# Training and applying models; they read their rows as the jobs of `SPARK` do.
MODELS = [
    *SPARK,
    "alembic~=1.18",  # the tables of MLflow's SQL store, with sqlalchemy
    "lightgbm~=4.6",
    "matplotlib>=3.10,<4",
    "mlflow-skinny~=3.17",  # the client without the server's and the agents' packages
    "optuna>=4.6,<6",
    "scikit-learn~=1.9.0",
    "scipy~=1.17",
    "skops>=0.13,<1",
    "sqlalchemy>=2.0.40,<2.1",  # what MLflow uses is deprecated in 2.1
    "xgboost-cpu~=3.2",  # xgboost without CUDA's libraries
]

# What a client of Spark Connect needs beside.
CONNECT = [*SPARK, "pyspark[connect]==4.2.0"]

# libFuzzer comes for this platform only; elsewhere hostile messages are drawn by chance.
WITH_LIBFUZZER = (
    "sys_platform == 'linux' and platform_machine == 'x86_64' and python_version < '3.14'"
)

DEV = [
    f"atheris~=3.0; {WITH_LIBFUZZER}",
    "hypothesis~=6.150",
    "import-linter~=2.0",
    "ipykernel~=7.4",
    "jsonschema~=4.26",
    "mkdocs-material~=9.7",
    "mkdocstrings-python~=2.0",
    "mypy>=1.19,<3",
    "nbclient~=0.11",
    "nbformat~=5.11",
    "orjson~=3.11",
    "pandas-stubs~=2.3.3",
    "pre-commit~=4.5",
    "psutil~=7.1",
    "pytest>=9,<10",
    "pytest-timeout~=2.4",
    "pytest-xdist~=3.8",
    "ruff~=0.15",
    "setuptools>=80",
    "trustme~=1.2",
    "types-cachetools",
    "types-jsonschema",
    "types-psutil",
    "types-pyyaml",
]


class BuildWithConf(build_py):
    """Packs the YAML files of `conf/` and the commit into the library: a wheel has no checkout."""

    def run(self) -> None:
        """Build the packages of a wheel anew; an editable install stays as it is."""
        if self.editable_mode:
            super().run()
            return
        # A module that was deleted since the last build would come along.
        shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()
        package = Path(self.build_lib) / "scorestream"
        for file in Path("conf").rglob("*.yaml"):
            (package / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, package / file)
        (package / "BUILD").write_text(f"{commit()}\n", encoding="ascii")


def commit() -> str:
    """Name the commit of the checkout, or say that there is none."""
    describe = ["git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=.dirty"]
    try:
        return subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


setup(
    name="scorestream",
    version="0.1.0",
    description="Distributed Spark batch and streaming scoring of DeFi wallets",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    package_dir={"": "lib"},
    packages=find_packages("lib"),
    package_data={"scorestream": ["py.typed"]},
    cmdclass={"build_py": BuildWithConf},
    entry_points={"console_scripts": ["scorestream = scorestream.commands.main:main"]},
    install_requires=CORE,
    extras_require={
        "spark": SPARK,
        "connect": CONNECT,
        "models": MODELS,
        "all": [*MODELS, *CONNECT],
        "dev": DEV,
    },
)
