"""Settings from the environment: typed, frozen, all problems reported at once."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import unquote

from pydantic import (
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from scorestream.infra.errors import ConfigurationError

PROJECT_ROOT: Final = Path(__file__).resolve().parents[4]
# A wheel has the files of `conf/` in the library.
_PACKED_CONF: Final = Path(__file__).resolve().parents[2] / "conf"
OWN_PREFIX: Final = "SCORESTREAM_"
MESSAGES_PER_TASK_TIME: Final = 30
MIN_MESSAGE_SECONDS: Final = 5.0
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})

TopicName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9._-]{1,249}$")]
Name = Annotated[str, StringConstraints(min_length=1)]
Port = Annotated[int, Field(ge=1, le=65_535)]
_SERVER: Final = r"^(\[[0-9a-fA-F:]+\]|[^\s,:\[\]]+):[0-9]{1,5}$"


# file:/x, file:///x, file://localhost/x
_LOCAL_URI: Final = re.compile(r"file:(?://(?:localhost)?)?(?=/(?!/))", re.IGNORECASE)
_HADOOP_SCHEMES: Final = {"s3": "s3a", "s3n": "s3a"}
_PEM_FILES: Final = {
    "kafka_ssl_cafile": ("-BEGIN CERTIFICATE-", "a PEM file with certificates"),
    "kafka_ssl_certfile": ("-BEGIN CERTIFICATE-", "a PEM file with certificates"),
    "kafka_ssl_keyfile": ("PRIVATE KEY-", "a PEM file with a private key"),
}
# Stands in every PEM file whose key has a password.
ENCRYPTED: Final = "ENCRYPTED"


def normalize_location(location: str) -> str:
    """Normalize a path or URI: one spelling, without a trailing slash.

    What is on this machine is an absolute path, also where it is given as a `file:` URI; a store
    goes by the scheme that Hadoop has for it, which pyarrow and delta-rs know as well.
    """
    if local := re.match(_LOCAL_URI, location):
        location = unquote(location[local.end() :])
    scheme, separator, rest = location.rstrip("/").partition("://")
    if separator:
        return f"{_HADOOP_SCHEMES.get(scheme, scheme)}://{rest}"
    return str(Path(location).resolve())


def normalize_store_uri(uri: str) -> str:
    """Normalize the URI of a store of models: files and folders in it become absolute."""
    scheme, separator, rest = uri.partition("://")
    if not separator:
        # Names of services have no file of theirs; all else is a folder.
        named = re.match("(databricks|uc)", uri)
        return uri if named else normalize_location(uri.removeprefix("file:"))
    path, mark, query = rest.removeprefix("/").partition("?")
    if not scheme.startswith("sqlite") or not path or path.startswith(":"):
        return uri
    return f"{scheme}:///{Path(path).absolute()}{mark}{query}"


def read_pem(path: Path | None) -> str:
    """Read a PEM file without non-ASCII comments; empty if it cannot be read."""
    if path is None:
        return ""
    try:
        return path.read_text(encoding="ascii", errors="ignore")
    except OSError:
        return ""


class Settings(BaseSettings):
    """Every setting; the field's name in upper case is its environment variable."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    kafka_port: Port = 9092
    kafka_bootstrap_servers: str = ""
    kafka_input_topic: TopicName = "wallet-transactions"
    kafka_success_topic: TopicName = "wallet-scores-success"
    kafka_failure_topic: TopicName = "wallet-scores-failure"
    kafka_consumer_group: Name = "scorestream"
    kafka_delivery_timeout_ms: Annotated[int, Field(ge=1_000, le=2**31 - 1)] = 120_000
    kafka_create_topics: bool | None = None
    kafka_isolation_level: Literal["read_committed", "read_uncommitted"] = "read_committed"
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    kafka_sasl_username: str | None = None
    kafka_sasl_password: SecretStr | None = None
    kafka_ssl_cafile: Path | None = None
    kafka_ssl_certfile: Path | None = None
    kafka_ssl_keyfile: Path | None = None
    kafka_ssl_key_password: SecretStr | None = None

    mongodb_url: SecretStr | None = None
    mongodb_database: Name = "scorestream"
    mongodb_tokens_collection: Name = "tokens"
    mongodb_thresholds_collection: Name = "protocol-thresholds-percentiles"

    mlflow_tracking_uri: SecretStr | None = None

    scorestream_warehouse: Annotated[Name, Field(validate_default=True)] = "./warehouse"
    scorestream_conf: Path = _PACKED_CONF if _PACKED_CONF.is_dir() else PROJECT_ROOT / "conf"
    scorestream_transactions: Literal["on", "off"] = "on"
    scorestream_task_seconds: Annotated[float, Field(ge=60, le=86_400)] = 600.0
    wallet_messages: Literal["full", "incremental"] = "full"
    wallet_models: str | None = None

    metrics_port: Annotated[int, Field(ge=0, le=65_535)] = 9108
    host: Name = "127.0.0.1"
    port: Port = 8000
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    environment: Name = "development"

    @model_validator(mode="before")
    @classmethod
    def _default_servers(cls, values: dict[str, Any]) -> dict[str, Any]:
        if not values.get("kafka_bootstrap_servers"):
            values["kafka_bootstrap_servers"] = f"127.0.0.1:{values.get('kafka_port') or 9092}"
        return values

    @field_validator("scorestream_warehouse")
    @classmethod
    def _absolute_warehouse(cls, path: str) -> str:
        """A relative place is that of the folder in which the command was started."""
        return normalize_location(path)

    @field_validator("mlflow_tracking_uri")
    @classmethod
    def _absolute_store(cls, uri: SecretStr | None) -> SecretStr | None:
        return SecretStr(normalize_store_uri(uri.get_secret_value())) if uri else uri

    @field_validator(
        "scorestream_conf", "kafka_ssl_cafile", "kafka_ssl_certfile", "kafka_ssl_keyfile"
    )
    @classmethod
    def _absolute_path(cls, path: Path | None) -> Path | None:
        return path.absolute() if path else path

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        """Check what no single field can; problems are joined so that all are reported."""
        problems = [
            *self._server_problems(),
            *self._topic_problems(),
            *self._security_problems(),
            *self._history_problems(),
        ]
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _server_problems(self) -> list[str]:
        return [
            f"KAFKA_BOOTSTRAP_SERVERS: {server!r} is not host:port"
            for server in self.kafka_bootstrap_servers.split(",")
            if not re.match(_SERVER, server.strip())
        ]

    def _topic_problems(self) -> list[str]:
        topics = [self.kafka_input_topic, self.kafka_success_topic, self.kafka_failure_topic]
        if len(set(topics)) == len(topics):
            return []
        return ["KAFKA_INPUT_TOPIC, KAFKA_SUCCESS_TOPIC, KAFKA_FAILURE_TOPIC: must be three topics"]

    def _history_problems(self) -> list[str]:
        if self.is_incremental and not self.keeps_history:
            return ["WALLET_MESSAGES: incremental needs SCORESTREAM_TRANSACTIONS=on"]
        return []

    def _security_problems(self) -> list[str]:
        problems = []
        if self.kafka_security_protocol.startswith("SASL"):
            needed = ("kafka_sasl_mechanism", "kafka_sasl_username", "kafka_sasl_password")
            problems += [
                f"{name.upper()}: is needed with KAFKA_SECURITY_PROTOCOL="
                f"{self.kafka_security_protocol}"
                for name in needed
                if getattr(self, name) is None
            ]
        if (self.kafka_ssl_certfile is None) != (self.kafka_ssl_keyfile is None):
            problems.append("KAFKA_SSL_CERTFILE, KAFKA_SSL_KEYFILE: give both or none")
        return problems + self._pem_problems()

    def _pem_problems(self) -> list[str]:
        """Files that are not there, or are something else; keys that lack their password."""
        problems = []
        for name, (label, expected) in _PEM_FILES.items():
            path = getattr(self, name)
            if path is not None and not path.is_file():
                problems.append(f"{name.upper()}: no file at {path}")
            elif path is not None and not re.search(label, read_pem(path)):
                problems.append(f"{name.upper()}: {path} is not {expected}")
        key = self.kafka_ssl_keyfile
        if ENCRYPTED in read_pem(key) and self.kafka_ssl_key_password is None:
            problems.append(f"KAFKA_SSL_KEY_PASSWORD: is needed, {key} is encrypted")
        return problems

    @property
    def creates_topics(self) -> bool:
        """Whether missing topics are created: as set, else only on a broker of this machine."""
        if self.kafka_create_topics is not None:
            return self.kafka_create_topics
        servers = self.kafka_bootstrap_servers.split(",")
        return all(s.strip().rpartition(":")[0].strip("[]") in LOOPBACK for s in servers)

    @property
    def keeps_history(self) -> bool:
        """Whether exploded transactions are written to the table `transactions`."""
        return self.scorestream_transactions == "on"

    @property
    def is_incremental(self) -> bool:
        """Whether a message carries only what is new, not the wallet's whole list."""
        return self.wallet_messages == "incremental"

    @property
    def tracking_uri(self) -> str:
        """Where MLflow keeps runs and models: as set, else a database below the warehouse.

        It may hold a password: not to be shown.

        Raises:
            ConfigurationError: the warehouse is no local folder, which a database needs.
        """
        if self.mlflow_tracking_uri:
            return self.mlflow_tracking_uri.get_secret_value()
        if "://" in self.warehouse:
            raise ConfigurationError(
                "MLFLOW_TRACKING_URI: is needed where SCORESTREAM_WAREHOUSE is no local folder"
            )
        return f"sqlite:///{self.mlflow_folder}/mlflow.db"

    @property
    def model_files(self) -> str | None:
        """Folder or URI of the files of trainings; None where their store has a place of its own.

        Without one, MLflow would put them into whatever folder a command was started in.
        """
        scheme, separator, rest = self.tracking_uri.partition("://")
        if scheme.startswith("sqlite") and self.mlflow_tracking_uri:
            return f"{rest.removeprefix('/').partition('?')[0].rpartition('/')[0]}/mlflow_files"
        is_database = re.match("(sqlite|postgresql|mysql|mssql)", scheme) is not None
        return self.mlflow_folder if separator and is_database else None

    @property
    def mlflow_folder(self) -> str:
        """Where the files of MLflow's default store are."""
        return f"{self.warehouse}/_mlflow"

    @property
    def message_seconds(self) -> float:
        """The most seconds that an isolated message may take.

        One that takes for ever is found in a handful of attempts, within the time of a task.
        """
        return max(MIN_MESSAGE_SECONDS, self.scorestream_task_seconds / MESSAGES_PER_TASK_TIME)

    @property
    def warehouse(self) -> str:
        """The warehouse as an absolute path or URI, without a trailing slash."""
        return self.scorestream_warehouse


def load_settings() -> Settings:
    """Read the environment.

    Raises:
        ConfigurationError: with every problem, a line each. Secret values are never in it.
    """
    problems = _unknown_settings() + _invalid_settings({})
    if problems:
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise ConfigurationError(f"{len(problems)} problem(s) in the settings:\n{lines}")
    return Settings()


def _unknown_settings() -> list[str]:
    known = {name.upper() for name in Settings.model_fields}
    return [
        f"{name}: is not a setting"
        for name, value in sorted(os.environ.items())
        if name.startswith(OWN_PREFIX) and name not in known and value
    ]


def _invalid_settings(overrides: dict[str, Any]) -> list[str]:
    """Problems of single settings, then, with those at their defaults, of settings together."""
    try:
        Settings(**overrides)
    except ValidationError as error:
        lines = [line for detail in error.errors() for line in _explain(detail)]
        wrong = {str(detail["loc"][0]) for detail in error.errors() if detail["loc"]}
        defaults = {name: Settings.model_fields[name].default for name in wrong}
        return lines + (_invalid_settings(overrides | defaults) if wrong else [])
    return []


def _explain(detail: ErrorDetails) -> list[str]:
    if not detail["loc"]:
        return str(detail["ctx"]["error"]).splitlines()
    name = str(detail["loc"][0]).upper()
    secret = "Secret" in str(Settings.model_fields[name.lower()].annotation)
    shown = "" if secret else f" (is {str(detail['input'])[:80]!r})"
    return [f"{name}: {detail['msg']}{shown}"]
