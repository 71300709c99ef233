"""Models of tables in MLflow: training runs, artifacts, loading from the registry."""

# Before MLflow is imported: it reads its settings then.
import scorestream.infra.mlflow as _settings  # noqa: F401
