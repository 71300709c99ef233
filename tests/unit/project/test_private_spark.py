"""Private objects of Spark are touched in one module only."""

from __future__ import annotations

import re

from scorestream.infra.config.settings import PROJECT_ROOT

COMPAT = PROJECT_ROOT / "lib" / "scorestream" / "infra" / "spark" / "compat.py"
PRIVATE = re.compile(
    r"\b(?!self\._jvm\b)\w+\._(?:jvm|jdf|jsc|jsparkSession|jc|jseq|gateway|sc)\b"
    r"|from pyspark\.(?:sql\.classic|errors\.exceptions)|\bpy4j\.\w+ import"
)


def test_private_objects_of_spark_are_only_in_the_compatibility_module() -> None:
    found = [
        f"{file.relative_to(PROJECT_ROOT)}: {match[0]}"
        for folder in ("lib", "jobs", "tools", "tests")
        for file in sorted((PROJECT_ROOT / folder).rglob("*.py"))
        if file != COMPAT
        for match in PRIVATE.finditer(file.read_text(encoding="utf-8"))
    ]
    assert found == []
    assert PRIVATE.search(COMPAT.read_text(encoding="utf-8"))
