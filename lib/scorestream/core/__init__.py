"""The pure core: bytes -> transactions -> features -> scores, on Arrow and numpy.

Nothing here knows Spark, Kafka, Delta, a clock, a file or the environment. The stream, the
backfill, the API, training and the tests all call :func:`scorestream.core.pipeline.score_messages`.
"""
