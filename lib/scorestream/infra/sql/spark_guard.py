"""Guards Spark: a statement may only read tables and views of the warehouse.

Not decided over text, and not by what is forbidden:

1. the session knows no functions but those that compute (`functions.py`), no files as tables, and
   puts no variables into a text
2. the statement's plan, as it is parsed, has only nodes of reading, over relations of ours. This
   comes before the analysis because the analysis runs code: `EXECUTE IMMEDIATE`, and constants
3. all that the analysed plan reads is ours: there names have become tables
4. that plan is run, no other
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, Final

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession

from scorestream.infra.errors import QueryError
from scorestream.infra.spark.compat import (
    JavaObject,
    SqlAnalyzer,
    class_of,
    fields_of,
    is_instance,
    items_of,
)
from scorestream.infra.spark.compat_texts import error_summary
from scorestream.infra.sql.spark_functions import FUNCTIONS, TABLE_FUNCTIONS

_SQL: Final = "org.apache.spark.sql."
_LOGICAL: Final = f"{_SQL}catalyst.plans.logical."
_SETTINGS: Final = {"spark.sql.variable.substitute": "false", "spark.sql.runSQLOnFiles": "false"}
_OUR_SCHEMAS: Final[tuple[list[str], ...]] = ([], ["default"], ["spark_catalog", "default"])


def _classes(package: str, names: str) -> frozenset[str]:
    return frozenset(f"{_SQL}{package}.{name}" for name in names.split())


# Nodes that the parser makes of a statement that reads; expressions are those of their package.
NODES: Final = (
    _classes(
        "catalyst.plans.logical",
        """
        Aggregate AsOfJoin DataFrameDropColumns Deduplicate Distinct Except Expand
        Filter Generate GlobalLimit Intersect Join LateralJoin LimitAll LocalLimit
        LocalRelation NearestByJoin Offset OneRowRelation Pivot Project Range
        RebalancePartitions Repartition RepartitionByExpression Sample Sort
        SubqueryAlias Tail Union Unpivot UnresolvedHint UnresolvedWith Window
        WithWindowDefinition DescribeColumn DescribeFunction DescribeRelation
        ShowColumns ShowCreateTable ShowFunctions ShowTableProperties ShowTables
        ShowTablesExtended ShowViews
        """,
    )
    | _classes(
        "catalyst.analysis",
        """CurrentNamespace MultiAlias RelationTimeTravel ResolvedInlineTable UnresolvedAlias
        UnresolvedAttribute UnresolvedExtractValue UnresolvedFunction UnresolvedFunctionName
        UnresolvedGenerator UnresolvedHaving UnresolvedInlineTable UnresolvedOrdinal
        UnresolvedPipeAggregateOrdinal UnresolvedQualify UnresolvedRegex UnresolvedRelation
        UnresolvedSeed UnresolvedStar UnresolvedStarExceptOrReplace UnresolvedStarWithColumns
        UnresolvedSubqueryColumnAliases UnresolvedTVFAliases UnresolvedTable UnresolvedTableOrView
        UnresolvedTableValuedFunction UnresolvedView UnresolvedWithinGroup""",
    )
    | _classes("execution.command", "DescribeQueryCommand ExplainCommand")
    | _classes("delta.commands", "DescribeDeltaDetailCommand DescribeDeltaHistory")
)
_EXPRESSIONS: Final = f"{_SQL}catalyst.expressions."
_NAMED: Final = _classes(
    "catalyst.analysis", "UnresolvedRelation UnresolvedTable UnresolvedTableOrView UnresolvedView"
)
# Nothing that could be forbidden is inside.
_WHOLE: Final = _classes("catalyst.plans.logical", "LocalRelation") | _classes(
    "catalyst.expressions", "Literal"
)
_READ: Final = frozenset(
    _LOGICAL + name
    for name in ("CTERelationRef", "LocalRelation", "OneRowRelation", "Range", "UnionLoopRef")
)
_TABLE: Final = f"{_SQL}execution.datasources.LogicalRelation"


class ReadOnlySession:
    """Runs statements that can only read tables and views of given names.

    Attributes:
        session: a session of its own beside that it was made from, with the same catalog.
    """

    def __init__(self, spark: SparkSession, relations: Collection[str]) -> None:
        self.session = spark.newSession()
        self._relations = relations
        self._analyzer = SqlAnalyzer(self.session)
        for name, value in _SETTINGS.items():
            self.session.conf.set(name, value)
        self._analyzer.keep_functions(FUNCTIONS, TABLE_FUNCTIONS)

    def read(self, sql: str) -> DataFrame:
        """The rows of a statement.

        Raises:
            QueryError: it cannot be parsed or analysed, or would do something else than read.
        """
        with self._in_session():
            parsed = self._analyzer.parse_plan(sql)
            self._refuse_other_parts(parsed)
            return self._analyzer.rows(self._analyse(parsed))

    def filter_rows(self, rows: DataFrame, condition: str) -> DataFrame:
        """Rows that a condition is true of.

        Args:
            rows: of this session.
            condition: SQL over their columns, without a query of its own over tables.

        Raises:
            QueryError: it cannot be parsed or analysed, or would do something else than compute.
        """
        with self._in_session():
            parsed = self._analyzer.parse_expression(condition)
            self._refuse_other_parts(parsed)
            return rows.where(self._analyzer.column(parsed))

    def _refuse_other_parts(self, parsed: Any) -> None:
        """Refuse what the parser made of a text if something in it does not read."""
        parts = list(self._parts(parsed))
        known = {*self._relations, *_find_named_queries(parts)}
        for kind, part in parts:
            forbidden = self._find_forbidden(kind, part, known)
            if forbidden:
                raise QueryError(f"query only reads tables and views, and {forbidden} is none")

    def _analyse(self, parsed: Any) -> Any:
        """A plan with all names resolved; nothing has run."""
        plan = self._analyzer.analyse(parsed)
        if class_of(plan) == f"{_SQL}execution.command.ExplainCommand":
            self._analyse(plan.logicalPlan())
        elif not is_instance(self.session, plan, f"{_LOGICAL}Command"):
            self._refuse_foreign_leaves(plan)
        return plan

    def _refuse_foreign_leaves(self, plan: Any) -> None:
        for part in (plan, *items_of(plan.subqueriesAll())):
            for leaf in items_of(part.collectLeaves()):
                kind = class_of(leaf).removesuffix("$")
                if kind not in _READ and not (kind == _TABLE and self._is_ours(leaf)):
                    raise QueryError(f"query only reads tables and views, and {kind} is none")

    def _is_ours(self, leaf: Any) -> bool:
        table = leaf.catalogTable()
        return table.isDefined() and table.get().identifier().table() in self._relations

    def _parts(self, plan: Any) -> Iterator[tuple[str, Any]]:
        """All that a plan is made of, with its class: nodes, and what lies in lists and pairs."""
        waiting = [plan]
        while waiting:
            part = waiting.pop()
            if isinstance(part, JavaObject):
                kind = class_of(part)
                yield kind, part
                waiting.extend(self._inside(kind, part))

    def _inside(self, kind: str, part: Any) -> Iterator[Any]:
        if kind in _WHOLE or kind.startswith(f"{_SQL}types."):
            return iter(())
        if is_instance(self.session, part, "scala.collection.Iterable"):
            return items_of(part)
        if is_instance(self.session, part, "scala.Product"):
            return fields_of(part)
        return iter(())

    def _find_forbidden(self, kind: str, part: Any, known: Collection[str]) -> str | None:
        """Describe a part of a plan that is forbidden; None if it is allowed."""
        if kind == f"{_SQL}util.CaseInsensitiveStringMap":
            return None if part.isEmpty() else "a relation with options"
        if kind in _NAMED:
            names = list(items_of(part.multipartIdentifier()))
            ours = names[:-1] in _OUR_SCHEMAS and names[-1].lower() in known
            return None if ours else ".".join(names)
        if kind.removesuffix("$") in NODES or kind.startswith(_EXPRESSIONS):
            return None
        # What is no node (names, modes, hints) does nothing.
        is_node = is_instance(self.session, part, f"{_SQL}catalyst.trees.TreeNode")
        return kind.rpartition(".")[2] if is_node else None

    @contextmanager
    def _in_session(self) -> Iterator[None]:
        try:
            with self._analyzer.active():
                yield
        except PySparkException as error:
            raise QueryError(error_summary(error)) from None


def _find_named_queries(parts: Collection[tuple[str, Any]]) -> Iterator[str]:
    """Names of WITH; those that could be a file's are left out."""
    for kind, part in parts:
        if kind == f"{_LOGICAL}UnresolvedWith":
            names = (pair._1() for pair in items_of(part.cteRelations()))
            yield from (name.lower() for name in names if re.fullmatch(r"\w+", name))
