"""Merges the schemas of several Parquet files, whose types may differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from scorestream.infra.errors import InputError
from scorestream.infra.storage.csv_files import refuse_repeated_names
from scorestream.infra.storage.filesystem import filesystem_of


def merge_schemas(uris: Sequence[str]) -> pa.Schema:
    """Merge the schemas of files: each column gets a type that holds its values in all of them.

    Raises:
        InputError: files have other columns than the first, or a column has no such type.
    """
    common = None
    for uri in uris:
        filesystem, path = filesystem_of(uri)
        schema = pq.read_schema(path, filesystem=filesystem)
        refuse_repeated_names(uri, schema.names)
        common = schema if common is None else pa.schema(_fields(common, schema, uri))
    return common


def _fields(common: pa.Schema, schema: pa.Schema, uri: str) -> Iterator[pa.Field]:
    for name in [*common.names, *schema.names]:
        if name not in common.names or name not in schema.names:
            raise InputError(f"{uri}: column {name!r} is not in all files of the table")
    for field in common:
        yield _merge_fields(field, schema.field(field.name), uri)


def _merge_fields(before: pa.Field, field: pa.Field, uri: str) -> pa.Field:
    """Merge two fields: null becomes any type, integers become wider or doubles."""
    both = [pa.schema([before]), pa.schema([field])]
    try:
        return pa.unify_schemas(both, promote_options="permissive").field(0)
    except pa.ArrowException:
        raise InputError(
            f"{uri}: column {field.name!r} is {field.type}, in files before it {before.type}"
        ) from None
