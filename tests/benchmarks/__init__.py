"""Benchmarks; see `run`. Their own torch waits as the node's does, before it is first imported."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
