"""A package with a scorer, as `pip install` leaves it in a folder."""

from __future__ import annotations

from pathlib import Path


def install_scorer(folder: Path, name: str, target: str) -> None:
    """Make a folder of the search path one where a package with a scorer is installed.

    Args:
        folder: to have on the search path.
        name: of the package.
        target: `module:class` of the scorer.
    """
    package = folder / f"{name}-1.dist-info"
    package.mkdir(parents=True)
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n"
    (package / "METADATA").write_text(metadata, encoding="utf-8")
    entry_points = f"[scorestream.scorers]\n{name} = {target}\n"
    (package / "entry_points.txt").write_text(entry_points, encoding="utf-8")
