"""The pure core: bytes -> transactions -> features -> scores, on Arrow and numpy.

Nothing here knows Spark, Kafka, Delta, a clock, a file or the environment. All scores come from
:mod:`scorestream.core.pipeline`: of messages, or (:mod:`scorestream.core.history`) of a wallet's
stored history at any moment.
"""
