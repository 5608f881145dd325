"""ExportedModel -> Measurement: latency, throughput, memory.

`harness` runs the files, `statistics` turns timings into numbers, `machine` says what they were
measured on.
"""
