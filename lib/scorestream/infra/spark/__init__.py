"""How work runs on Spark: the session, its tasks, what hangs or ends its process."""
