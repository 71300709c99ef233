"""Times as columns hold them: unix seconds, ISO 8601 texts, or a type of times."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc


def moments(values: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    """Times as unix seconds, each value by itself; NaN where it is none."""
    kind = values.type
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        zone = None if pa.types.is_date(kind) else kind.tz
        ticks = values.cast(pa.timestamp("us", zone), safe=False).cast(pa.int64())
        return np.asarray(pc.divide(ticks.cast(pa.float64(), safe=False), 1e6).fill_null(np.nan))
    texts = pc.utf8_trim_whitespace(values) if pa.types.is_string(kind) else values
    given = texts.to_pandas()
    numbers = pd.to_numeric(given, errors="coerce").to_numpy(np.float64, copy=True)
    numbers[~np.isfinite(numbers)] = np.nan
    return np.where(np.isnan(numbers), _by_text(given), numbers)


def _by_text(given: pd.Series) -> npt.NDArray[np.float64]:
    times = pd.to_datetime(given, utc=True, errors="coerce", format="ISO8601")
    seconds = times.dt.as_unit("ns").astype("int64") / 1e9
    return np.asarray(seconds.where(times.notna()), np.float64)
