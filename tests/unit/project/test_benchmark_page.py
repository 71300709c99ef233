"""`docs/benchmarks.md` has the parts that the benchmark writes."""

from __future__ import annotations

import re

from scorestream.infra.config.settings import PROJECT_ROOT

TEMPLATE = PROJECT_ROOT / "tools" / "benchmarks" / "report.template.md"


def test_the_page_in_the_docs_was_written_by_the_benchmark() -> None:
    template = TEMPLATE.read_text(encoding="utf-8")
    page = (PROJECT_ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert re.findall("^#.*", page, re.MULTILINE) == re.findall("^#.*", template, re.MULTILINE)
