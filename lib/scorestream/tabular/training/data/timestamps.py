"""Parses columns of times: unix seconds, ISO 8601 texts, or a time type."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

Seconds = npt.NDArray[np.float64]


def parse_times(values: pa.ChunkedArray) -> Seconds:
    """Parse times to unix seconds; NaN where a value is none."""
    kind = values.type
    if pa.types.is_string(kind):
        return _of_texts(pc.utf8_trim_whitespace(values).to_pandas())
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        zone = None if pa.types.is_date(kind) else kind.tz
        ticks = values.cast(pa.timestamp("us", zone), safe=False).cast(pa.int64())
        return _finite(ticks) / 1e6
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return _finite(values)
    return np.full(len(values), np.nan)


def _finite(values: pa.ChunkedArray) -> Seconds:
    seconds = np.asarray(values.cast(pa.float64(), safe=False).fill_null(np.nan), np.float64)
    return np.where(np.isfinite(seconds), seconds, np.nan)


def _of_texts(texts: pd.Series) -> Seconds:
    numbers = pd.to_numeric(texts, errors="coerce")
    seconds: Seconds = numbers.to_numpy(np.float64, copy=True)
    seconds[~np.isfinite(seconds)] = np.nan
    others = np.isnan(seconds)
    times = pd.to_datetime(texts[others], utc=True, errors="coerce", format="ISO8601")
    known = times.notna().to_numpy()
    seconds[others] = np.where(known, times.dt.as_unit("ns").astype("int64") / 1e9, np.nan)
    return seconds
