"""What the commands share: settings, logs, exit codes, options, the way to spark-submit.sh."""
