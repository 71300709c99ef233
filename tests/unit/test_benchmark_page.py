"""`docs/benchmarks.md` has the parts that the benchmark writes."""

from __future__ import annotations

import re

from scorestream.settings import PROJECT_ROOT


def test_the_page_in_the_docs_was_written_by_the_benchmark() -> None:
    template = (PROJECT_ROOT / "benchmarks" / "report.template.md").read_text(encoding="utf-8")
    page = (PROJECT_ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert re.findall("^#.*", page, re.MULTILINE) == re.findall("^#.*", template, re.MULTILINE)
