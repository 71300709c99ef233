"""The job over TLS, client certificates and SASL; and what it says where a broker refuses it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from delivery_checks import check_every_offset_once
from golden import differences, golden_records, golden_wallets
from installation import Installation
from secure_broker import LISTENERS, SecureBroker, secure_broker
from scorestream.errors import KafkaError
from scorestream.io.kafka.cluster import KafkaCluster
from scorestream.local.broker import HOST, free_port
from scorestream.settings import Settings

pytestmark = pytest.mark.broker
