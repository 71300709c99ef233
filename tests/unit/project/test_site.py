"""The documentation site: links between documents and files, and the API that it shows."""

from __future__ import annotations

import ast
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from scorestream.infra.config.settings import PROJECT_ROOT
from tools.local.samples import SAMPLES
from tools.site.hooks import linked_from, page_text, site_uri, to_site

DOCS = PROJECT_ROOT / "docs"
API = (DOCS / "api.md").read_text(encoding="utf-8")


def test_links_lead_to_pages_of_the_site() -> None:
    text = "[a](../conf/scoring/dex-v1.yaml), [b](../README.md#run-it), [c](decisions), [d](#here)"
    shown = "[a](source/conf/scoring/dex-v1.yaml.md), [b](index.md#run-it), "
    assert to_site(text, DOCS / "scoring.md") == f"{shown}[c](decisions/index.md), [d](#here)"
    assert to_site("![flow](docs/flow.svg)", PROJECT_ROOT / "README.md") == "![flow](flow.svg)"


def test_what_is_in_fences_stays_as_it_is() -> None:
    text = "```md\n[a](../README.md)\n```\n"
    assert to_site(text, DOCS / "scoring.md") == text


def test_pipes_in_code_of_a_table_are_shown_as_such() -> None:
    assert to_site(r"| `a\|b` | a \| b |", DOCS / "sql.md") == r"| `a|b` | a \| b |"


def test_files_and_folders_have_pages() -> None:
    assert page_text(PROJECT_ROOT / "conf" / "wallet_models.yaml").startswith("# wallet_models")
    assert page_text(SAMPLES) == (SAMPLES / "README.md").read_text(encoding="utf-8")
    decision = DOCS / "decisions" / "0018-layout-by-domain.md"
    assert decision in linked_from(DOCS / "decisions")
    assert site_uri(decision) == "decisions/0018-layout-by-domain.md"
    assert site_uri(PROJECT_ROOT / ".env.example") == "source/env.example.md"


def test_no_two_pages_are_in_one_place() -> None:
    pages = {PROJECT_ROOT / "README.md", *DOCS.rglob("*.md")}
    waiting: list[Path] = [*pages]
    while waiting:
        new = linked_from(waiting.pop()) - pages
        pages |= new
        waiting += new
    assert len({site_uri(page) for page in pages}) == len(pages)


def defined_names(module: str) -> set[str]:
    """What a module defines; it is not imported, as it may need Spark."""
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    nodes = ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body
    targets = (t for node in nodes if isinstance(node, ast.Assign) for t in node.targets)
    return {
        *(n.name for n in nodes if isinstance(n, ast.ClassDef | ast.FunctionDef)),
        *(t.id for t in targets if isinstance(t, ast.Name)),
    }


def test_every_member_of_the_api_is_there() -> None:
    shown = re.findall(r"::: ([\w.]+)\n(?: +options: \{members: \[([^\]]*)\])?", API)
    assert len(shown) > 3
    for name, members in shown:
        known = defined_names(name)
        missing = [m for m in members.split(", ") if m and m not in known]
        assert missing == [], name


def test_the_example_of_the_api_runs() -> None:
    [code] = re.findall(r"```python\n(.*?)```", API, re.DOTALL)
    names: dict[str, Any] = {"message": b"{}"}
    exec(code, names)
    assert names["scored"].rejects["error_code"].to_pylist() == ["missing_field"]
