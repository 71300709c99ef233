"""Where things are: one spelling a place, one client a bucket, one line a failure."""

from __future__ import annotations

from pathlib import Path

import pytest

from scorestream.infra.config.settings import normalize_location
from scorestream.infra.error_text import error_summary
from scorestream.infra.errors import InUseError
from scorestream.infra.storage.filesystem import filesystem_of, s3_settings
from scorestream.infra.storage.locks import exclusive_lock

DELTA_RS = (
    "Kernel error -> Generic S3 error\n"
    "          \x1b[31m\u21b3\x1b[0m Error performing list request\n"
    "           \x1b[31m\u21b3\x1b[0m 404 Not Found\n"
    '            \x1b[31m\u21b3\x1b[0m <?xml version="1.0" encoding="UTF-8"?>\n'
    "<Error><Code>NoSuchBucket</Code><Message>There is no such bucket</Message></Error>\n"
)


@pytest.mark.parametrize(
    ("given", "location"),
    [
        ("/data/warehouse/", "/data/warehouse"),
        ("/data/../data/warehouse", "/data/warehouse"),
        ("file:///data/warehouse", "/data/warehouse"),
        ("file:/data/warehouse/", "/data/warehouse"),
        ("FILE:///data/warehouse", "/data/warehouse"),
        ("file://localhost/data/warehouse", "/data/warehouse"),
        ("//data/warehouse", "/data/warehouse"),
        ("file://other/data/warehouse", "file://other/data/warehouse"),
        ("file:///data/my%20house", "/data/my house"),
        ("s3://bucket/warehouse/", "s3a://bucket/warehouse"),
        ("s3n://bucket/warehouse", "s3a://bucket/warehouse"),
        ("s3a://bucket/warehouse", "s3a://bucket/warehouse"),
        ("gs://bucket/warehouse", "gs://bucket/warehouse"),
        ("hdfs://node:8020/warehouse", "hdfs://node:8020/warehouse"),
    ],
)
def test_a_place_has_one_spelling(given: str, location: str) -> None:
    assert normalize_location(given) == location


def test_a_relative_path_is_that_of_the_folder_the_job_started_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert normalize_location("./warehouse") == str(tmp_path / "warehouse")


def test_a_lock_holds_for_every_spelling(tmp_path: Path) -> None:
    with (
        exclusive_lock(f"{tmp_path}/warehouse"),
        pytest.raises(InUseError),
        exclusive_lock(f"file://{tmp_path}/warehouse/"),
    ):
        pass


def test_a_bucket_has_one_client_for_all_its_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    places = [filesystem_of(f"s3a://one-client/{name}") for name in ("a", "b/c", "d%20e")]
    assert [path for _, path in places] == ["one-client/a", "one-client/b/c", "one-client/d e"]
    assert len({id(filesystem) for filesystem, _ in places}) == 1


@pytest.mark.parametrize(
    ("environment", "settings"),
    [
        ({}, ("", "")),
        ({"AWS_ENDPOINT_URL": "http://a", "AWS_DEFAULT_REGION": "x"}, ("http://a", "x")),
        ({"AWS_ENDPOINT_URL": "http://a", "AWS_ENDPOINT_URL_S3": "http://b"}, ("http://b", "")),
    ],
)
def test_s3_goes_by_amazons_own_variables(
    environment: dict[str, str], settings: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ENDPOINT_URL", "ENDPOINT_URL_S3", "REGION", "DEFAULT_REGION"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert s3_settings() == settings


def test_azure_goes_by_the_variables_of_delta_rs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_USE_EMULATOR", "true")
    filesystem, path = filesystem_of("az://a-container/warehouse/scores")
    assert filesystem.type_name == "abfs"
    assert path == "a-container/warehouse/scores"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            DELTA_RS,
            (
                "Kernel error -> Generic S3 error: Error performing list request: 404 Not Found: "
                "NoSuchBucket: There is no such bucket"
            ),
        ),
        ("one line", "one line"),
        ("two lines:\n  of one cause", "two lines: of one cause"),
        ("", ""),
    ],
)
def test_the_causes_of_a_failure_are_told_in_one_line(said: str, told: str) -> None:
    assert error_summary(OSError(said)) == told
