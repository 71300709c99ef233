"""Makes pages of what documents link to beside pages: the README, configuration, code, folders.

Documents link to files of the repository, so that a link works wherever a document is read. The
site has a page for each of these files and folders, and the link leads there.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).resolve().parents[2]
DOCS: Final = ROOT / "docs"
HOME: Final = ROOT / "README.md"
# The path of a link, without a heading; none of another site.
_LINK: Final = re.compile(r"(?<=\]\()([^)#\s:]+)(?=[#)])")
# In a table, where other renderers need the backslash.
_CODE: Final = re.compile(r"`[^`\n]*\\\|[^`\n]*`")
_FENCES: Final = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
_LANGUAGES: Final = {".py": "python", ".yaml": "yaml"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the README as the home page, and pages of all that is linked to from page to page."""
    there = {DOCS / file.src_uri for file in files}
    waiting = [HOME, *sorted(there)]
    while waiting:
        path = waiting.pop()
        if path not in there:
            text = to_site(page_text(path), path)
            files.append(File.generated(config, site_uri(path), content=text))
        there.add(path)
        waiting += [target for target in linked_from(path) if target not in there]
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead the links of a page of `docs/` to pages of the site."""
    del config, files
    generated = page.file.generated_by is not None
    return markdown if generated else to_site(markdown, DOCS / page.file.src_uri)


def to_site(text: str, path: Path) -> str:
    """Lead the links of a document to pages of the site, and write it as MkDocs reads it.

    Args:
        text: Markdown.
        path: of the document, or of the folder that it is about.
    """
    folder = (ROOT / site_uri(path)).parent

    def lead(link: re.Match[str]) -> str:
        target = _target(path, link[1])
        return os.path.relpath(ROOT / site_uri(target), folder) if target.exists() else link[1]

    parts = _FENCES.split(text)
    parts[::2] = [_CODE.sub(_bare_pipes, _LINK.sub(lead, part)) for part in parts[::2]]
    return "".join(parts)


def linked_from(path: Path) -> set[Path]:
    """Files and folders that a document links to."""
    if not (path.is_dir() or path.suffix == ".md"):
        return set()
    text = "".join(_FENCES.split(page_text(path))[::2])
    return {target for link in _LINK.findall(text) if (target := _target(path, link)).exists()}


def site_uri(path: Path) -> str:
    """Where the site has a file or folder of the repository."""
    if path == HOME:
        return "index.md"
    inside = path.is_relative_to(DOCS)
    # What begins with a dot is in no site.
    outside = Path("source", *(part.lstrip(".") for part in path.relative_to(ROOT).parts))
    place = path.relative_to(DOCS) if inside else outside
    if path.is_dir():
        return str(place / "index.md")
    return str(place) if inside or path.suffix == ".md" else f"{place}.md"


def page_text(path: Path) -> str:
    """The text of a page: of a document itself, of a folder its README or what is in it."""
    if path.is_dir():
        readme = path / "README.md"
        return readme.read_text(encoding="utf-8") if readme.exists() else _listing(path)
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text
    language = _LANGUAGES.get(path.suffix, "text")
    return f"# {path.name}\n\n````{language}\n{text}````\n"


def _listing(folder: Path) -> str:
    """The names of a folder's files; those of `docs/` are linked to."""
    names = sorted(file.name for file in folder.iterdir() if file.is_file())
    shown = [f"[{_title(folder / n)}]({n})" if folder.is_relative_to(DOCS) else n for n in names]
    items = "\n".join(f"- {name}" for name in shown)
    return f"# {folder.relative_to(ROOT)}\n\n{items}\n"


def _title(path: Path) -> str:
    """The title of a document; the name of any other file."""
    if path.suffix != ".md":
        return path.name
    return path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")


def _bare_pipes(code: re.Match[str]) -> str:
    return code[0].replace(r"\|", "|")


def _target(path: Path, link: str) -> Path:
    return Path(os.path.normpath((path if path.is_dir() else path.parent) / link))
