"""The pure core: bytes -> transactions -> features -> scores, on Arrow and numpy.

Nothing here knows Spark, Kafka, Delta, a clock, a file or the environment. All scores come from
:mod:`scorestream.wallets.core.pipeline`: of messages, or of a wallet's stored history at any moment
(:mod:`scorestream.wallets.core.history`).
"""
