"""The services beside the broker are away."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from pymongo import MongoClient

from scorestream.infra.config.settings import PROJECT_ROOT
from scorestream.wallets.reference.reference_data import load_conf_reference
from tools.chaos.job import Job
from tools.chaos.proxy import Proxy, Weather
from tools.chaos.registry import registry_behind_proxy
from tools.chaos.scenario import Skipped, scenario
from tools.chaos.site import Site
from tools.local.ports import HOST, free_port
from tools.testkit.expectations import Expected
from tools.testkit.go_programs import has_go
from tools.testkit.mongo_server import NO_GO, own_server
from tools.testkit.pyfuncs import register

APPLIED = Expected(applied={"swaps"})
AWAY = Weather(refuse=True)
# What a version is tried with has this score, and no wallet of the load.
DEADLY = "rows['num_swaps'] if 12.5 in set(rows['zscore']) else __import__('os')._exit(9)"
# The registry is left alone for a while after it did not answer.
PATIENCE_SECONDS = 240.0


@scenario(
    "MongoDB is away at the first start",
    injected="nothing listens at MONGODB_URL, and the warehouse holds no copy of its data",
    expected="exit code 1 with a message, before anything is read; a start without it goes on",
)
def mongodb_away(site: Site) -> str:
    site.publish(20)
    job = site.start("--available-now", MONGODB_URL=f"mongodb://{HOST}:{free_port()}/")
    line = site.wait_for_refusal(job, 1, "ReferenceDataUnavailable", "MONGODB_URL")
    assert site.count_rows() == 0
    site.drain()
    site.check()
    return line


@scenario(
    "MongoDB dies, and stays away",
    injected="its server is stopped while the job runs; then the job is started again",
    expected="the job goes on; the next start takes the last copy in the warehouse, with a warning",
)
def mongodb_dies(site: Site) -> str:
    if not has_go():
        raise Skipped(NO_GO)
    with own_server() as url:
        _fill(url)
        site.publish(20)
        job = site.start(MONGODB_URL=url)
        site.catch_up(job)
    site.mark_fault()
    site.publish(20)
    site.catch_up(job)
    site.finish(job)
    site.publish(20)
    again = site.start("--available-now", MONGODB_URL=url)
    assert again.wait() == 0, again.output[-4000:]
    site.check()
    return _warning(again)


@scenario(
    "the registry of models is away",
    injected="MLFLOW_TRACKING_URI refuses connections at the first start; it is silent while the "
    "job runs, and at the next start; then it is back with another version",
    expected="exit code 1 with a message, before anything is read; later the job goes on with the "
    "version that served last, and takes the new one when it can, without a restart",
)
def registry_away(site: Site) -> str:
    own = site.installation.settings.model_copy(update={"mlflow_tracking_uri": None})
    register(own, site.folder, "swaps", "rows['num_swaps'] * 2.0")
    with registry_behind_proxy(own) as registry:
        start = partial(
            site.start,
            MLFLOW_TRACKING_URI=f"http://{registry.address}",
            WALLET_MODELS="swaps@champion",
        )
        site.publish(20)
        registry.weather = AWAY
        refused = start("--available-now")
        line = site.wait_for_refusal(refused, 1, "swaps@champion", "cannot be applied")
        assert site.count_rows() == 0
        registry.pass_through()
        job = start()
        site.catch_up(job)
        _cut(registry)
        site.mark_fault()
        site.publish(20)
        site.catch_up(job)
        site.finish(job)
        again = start()
        site.publish(20)
        site.catch_up(again)
        assert again.events("model_from_last_copy"), again.output[-4000:]
        assert _versions(site) == {"1"}
        register(own, site.folder, "swaps", "rows['num_swaps'] * 3.0")
        # What was swallowed never comes: these connections are of no use any more.
        registry.cut()
        registry.pass_through()
        with site.load():
            again.wait_for("the new version", lambda: "2" in _versions(site), PATIENCE_SECONDS)
        site.catch_up(again)
        site.finish(again)
        site.check(APPLIED)
    return line


@scenario(
    "a model ends the process that applies it",
    injected="a version is promoted that ends its process for wallets that have traded, not for "
    "those that a version is tried with",
    expected="the task is done again with care; every wallet has its score, and the value of the "
    "version before; the job goes on with that",
)
def deadly_model(site: Site) -> str:
    return _failure(_outlive_deadly(site, site.start))


@scenario(
    "a model ends the process that applies it, where Spark tries a task only once",
    injected="the same under SPARK_MASTER=local[2]",
    expected="the batch is scored once more, with care; the rest as above",
)
def deadly_model_tried_once(site: Site) -> str:
    job = _outlive_deadly(site, partial(site.start, SPARK_MASTER="local[2]"))
    assert job.events("batch_again_with_care"), job.output[-4000:]
    return _failure(job)


def _outlive_deadly(site: Site, start: Callable[..., Job]) -> Job:
    """Promote a version that ends its process while a job runs; the job, which went on."""
    own = site.installation.settings.model_copy(update={"mlflow_tracking_uri": None})
    register(own, site.folder, "swaps", "rows['num_swaps'] * 2.0")
    job = start(WALLET_MODELS="swaps@champion")
    site.publish(20)
    site.catch_up(job)
    register(own, site.folder, "swaps", DEADLY)
    # It serves once its trial is over, for which no batch waits.
    with site.load():
        job.wait_for("the new version", lambda: bool(job.events("model_failed")), PATIENCE_SECONDS)
        site.mark_fault()
    site.catch_up(job)
    site.publish(20)
    site.catch_up(job)
    site.finish(job)
    site.check(APPLIED)
    assert _versions(site) == {"1"}
    return job


def _failure(job: Job) -> str:
    failed = job.events("model_failed")[-1]
    return f"{failed['event']}: {failed['model']}: {failed['reason']}"


def _cut(registry: Proxy) -> None:
    registry.weather = Weather(swallow=True)
    registry.cut()


def _versions(site: Site) -> set[str]:
    """The versions of the model that scores have; every one has its value."""
    entries = [dict(row["models"])["swaps"] for row in site.installation.rows("scores")]
    assert all(each["value"] is not None for each in entries)
    return {each["version"] for each in entries}


def _fill(url: str) -> None:
    """Put the reference data of `conf/` into the database, by the names of the settings."""
    reference = load_conf_reference(PROJECT_ROOT / "conf")
    with MongoClient[dict[str, object]](url) as client:
        database = client["scorestream"]
        database["tokens"].insert_many([token.model_dump() for token in reference.tokens])
        thresholds = [threshold.model_dump() for threshold in reference.thresholds]
        database["protocol-thresholds-percentiles"].insert_many(thresholds)


def _warning(job: Job) -> str:
    [warning] = job.events("reference_data_from_last_copy")
    return f"{warning['event']}: {str(warning['reason']).partition(':')[0]} …"
