"""ExportedModel -> Measurement: latency, throughput, memory.

`harness` runs the files, `statistics` turns timings into numbers, `machine` says what they were
measured on.
"""

from toolchain.benchmark.harness import benchmark
from toolchain.benchmark.machine import describe

__all__ = ["benchmark", "describe"]
