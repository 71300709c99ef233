"""Results of a training: MLflow run, profile, plots, promotion decision."""
