"""Guards DuckDB: a statement may only read tables and views of the warehouse.

Two things see to it, neither of which looks at text:

1. the connection is confined by DuckDB's own settings: no file but those of the tables' folders can
   be opened, nothing can be attached, installed or loaded, and no setting can be changed any more
2. a statement must be one that DuckDB's own parser takes for a SELECT, whose tree names only
   relations of ours and table functions that compute
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Collection, Iterator
from typing import Any, Final

import duckdb

from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.errors import QueryError

_SCHEMAS: Final[tuple[list[str], ...]] = ([], ["main"], ["memory", "main"])
_TABLE_FUNCTIONS: Final = frozenset(
    {"generate_series", "json_each", "json_tree", "range", "repeat", "unnest"}
)
# What a SELECT is made of, beside expressions, which have a class.
_NODES: Final = frozenset(
    {
        *("SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"),
        *("BASE_TABLE", "SUBQUERY", "JOIN", "EMPTY", "EXPRESSION_LIST", "PIVOT", "COLUMN_DATA"),
        *("TABLE_FUNCTION", "SHOW_REF"),
        *("LIMIT_MODIFIER", "LIMIT_PERCENT_MODIFIER", "ORDER_MODIFIER", "DISTINCT_MODIFIER"),
        *("ORDER_DEFAULT", "ASCENDING", "DESCENDING"),
    }
)
_WORDS_OF_EXPLAIN: Final = frozenset({*"(),", "analyze", "format", "text", "json", "html"})


def restrict_connection(connection: duckdb.DuckDBPyConnection, warehouse: Warehouse) -> None:
    """Restrict a connection to the files of the warehouse's tables.

    What does not fit into memory is still written to a temporary folder.
    """
    folders = [
        f"{warehouse.path(table).removeprefix('file://')}/" for table in warehouse.catalog.tables
    ]
    settings = {
        "allow_community_extensions": "false",
        "allowed_directories": f"[{', '.join(map(_quote, folders))}]",
        "autoload_known_extensions": "false",
        "python_enable_replacements": "false",
        "temp_directory": _quote(f"{tempfile.gettempdir()}/scorestream-sql-{os.getpid()}"),
        "enable_external_access": "false",
        "lock_configuration": "true",
    }
    for name, value in settings.items():
        connection.execute(f"SET {name} = {value}")


def parse_read_only(
    connection: duckdb.DuckDBPyConnection, sql: str, relations: Collection[str]
) -> duckdb.Statement:
    """Parse a text of one statement, which must only read.

    Args:
        connection: parses it.
        sql: the text.
        relations: names of the tables and views that it may read.

    Raises:
        QueryError: it cannot be parsed, is not one, or would do something else.
    """
    try:
        statements = connection.extract_statements(sql)
        if len(statements) != 1:
            raise QueryError(f"expected one statement, got {len(statements)}")
        [statement] = statements
        if _kind(statement) != "EXPLAIN":
            _refuse_what_does_not_read(connection, relations, statement)
            return statement
        words, explained = _split_explain(statement.query)
        _refuse_what_does_not_read(connection, relations, *connection.extract_statements(explained))
        # Put together anew: what is explained is what was looked at.
        return connection.extract_statements(f"EXPLAIN {words} {explained}")[0]
    except duckdb.Error as error:
        raise QueryError(str(error)) from None


def _split_explain(sql: str) -> tuple[str, str]:
    """Options and statement of an EXPLAIN, as DuckDB's own lexer finds them."""
    content = sql.encode()
    tokens = [start for start, kind in duckdb.tokenize(sql) if kind != duckdb.token_type.comment]
    words: list[str] = []
    for start, end in zip(tokens[1:], [*tokens[2:], len(content)], strict=True):
        word = re.match(r"\w+|.", content[start:end].decode()).group().lower()  # type: ignore[union-attr]
        if word not in _WORDS_OF_EXPLAIN or (word == "(" and words):
            return " ".join(words), content[start:].decode()
        words.append(word)
    raise QueryError("EXPLAIN of what?")


def _refuse_what_does_not_read(
    connection: duckdb.DuckDBPyConnection,
    relations: Collection[str],
    *statements: duckdb.Statement,
) -> None:
    kinds = [_kind(statement) for statement in statements]
    if kinds != ["SELECT"]:
        raise QueryError(f"sql only reads tables and views, and {', '.join(kinds)} does not")
    [(tree,)] = connection.execute(
        "SELECT json_serialize_sql(CAST(? AS VARCHAR))", [statements[0].query]
    ).fetchall()
    try:
        parsed = json.loads(tree)
    except RecursionError:
        raise QueryError("the statement is nested too deeply") from None
    if parsed["error"]:
        raise QueryError(f"sql only reads tables and views: {parsed['error_message']}")
    nodes = list(_nodes(parsed["statements"]))
    known = {*relations, *_find_named_queries(nodes)}
    for node in nodes:
        refused = _find_forbidden(node, known)
        if refused:
            raise QueryError(f"sql only reads tables and views, and {refused} is none")


def _kind(statement: duckdb.Statement) -> str:
    try:
        return statement.type.name
    except ValueError:  # one of DuckDB's that its Python does not know
        return "this statement"


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """All objects of a tree."""
    waiting = [tree]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)


def _find_named_queries(nodes: Collection[dict[str, Any]]) -> set[str]:
    """Names of WITH; those that could be a file's are left out."""
    named = (entry["key"] for node in nodes for entry in node.get("cte_map", {}).get("map", ()))
    return {name.lower() for name in named if re.fullmatch(r"\w+", name)}


def _find_forbidden(node: dict[str, Any], known: Collection[str]) -> str | None:
    """Describe a node that is forbidden; None if it is allowed."""
    kind = node.get("type")
    if "class" in node or not isinstance(kind, str) or kind.endswith("_TYPE_INFO"):
        return None
    if kind == "BASE_TABLE":
        *schema, name = node["qualified_name"]["path"]
        ours = schema in _SCHEMAS and name.lower() in known
        return None if ours else repr(".".join([*schema, name]))
    if kind == "TABLE_FUNCTION":
        name = node["function"].get("function_name", "")
        return None if name in _TABLE_FUNCTIONS else f"{name}()"
    return None if kind in _NODES else kind


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
