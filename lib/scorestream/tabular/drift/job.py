"""`check_drift`: compares data with those that a model was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from scorestream.infra.config.settings import Settings
from scorestream.infra.display import visible
from scorestream.infra.errors import DriftFound, InputError
from scorestream.infra.mlflow.registry import Registry
from scorestream.infra.mlflow.store import ModelStore
from scorestream.infra.storage.filesystem import as_uri, write_text
from scorestream.tabular.drift.measures import ColumnDrift, measure_drift
from scorestream.tabular.drift.report import Reported, render_html, render_json
from scorestream.tabular.registry.loading import load
from scorestream.tabular.registry.tracking import Run
from scorestream.tabular.training.config.sections import Drift
from scorestream.tabular.training.data.ingest import read_sample
from scorestream.tabular.training.runs.run_log import read_profile, read_use_case

SHOWN: Final = 5


@dataclass(frozen=True)
class DriftOptions:
    """Options of a check.

    Attributes:
        model: NAME@ALIAS, NAME/VERSION or NAME.
        out: folder for drift.html and drift.json; None to write none.
        psi: limit, instead of the use case's.
        missing: limit, instead of the use case's.
    """

    model: str
    data: str
    out: str | None = None
    psi: float | None = None
    missing: float | None = None


def check_drift(options: DriftOptions, settings: Settings) -> None:
    """Compare data, or a sample of more than one process holds, with a model's training profile.

    Raises:
        DriftFound: a column is beyond the limits; the reports are written all the same.
        ModelError: there is no such model, it was not trained here, or by another version.
        InputError: the data cannot be read, or lack a column; the reports cannot be written.
    """
    store = ModelStore.of(settings)
    registered = Registry(store).resolve(options.model)
    model = load(store, registered).tabular
    run = Run(store, registered.run_id)
    profile, use_case = read_profile(run), read_use_case(run)
    limits = _limits(use_case.drift, options)
    rows, count = read_sample(options.data, use_case.collect_at_most)
    drifts = measure_drift(model, profile, rows, limits)
    if options.out is not None:
        reported = Reported(str(registered.version), options.data, rows.num_rows, count)
        page = render_html(profile, reported, limits, drifts)
        _write(options.out, page, render_json(profile, reported, drifts))
    if rows.num_rows < count:
        print(f"a sample of {rows.num_rows:,} of {count:,} rows (collect_at_most)")
    _print_summary(str(registered), drifts)


def _limits(configured: Drift, options: DriftOptions) -> Drift:
    overrides = {"psi": options.psi, "missing": options.missing}
    return configured.model_copy(update={k: v for k, v in overrides.items() if v is not None})


def _write(out: str, page: str, numbers: str) -> None:
    folder = as_uri(out.rstrip("/"))
    try:
        write_text(f"{folder}/drift.html", page)
        write_text(f"{folder}/drift.json", numbers)
    except OSError as error:
        raise InputError(f"--out {out}: cannot be written: {error}") from None


def _print_summary(model: str, drifts: list[ColumnDrift]) -> None:
    for drift in drifts[:SHOWN]:
        print(f"{visible(drift.name)}: PSI {drift.psi:.4f}, missing {drift.missing:.2%}")
    drifted = [drift.name for drift in drifts if drift.drifted]
    if drifted:
        raise DriftFound(
            f"{model}: {', '.join(drifted)}: not as trained any more: look at the report (--out), "
            "and train anew"
        )
    print(f"{model}: no drift in {len(drifts)} columns")
