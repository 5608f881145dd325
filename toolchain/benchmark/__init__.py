"""ExportedModel -> Benchmark: latency, throughput, memory, energy and size, with intervals.

`harness` times `candidate`s in `lane`s after a `plan` and makes `rows`; `statistics` turns timings
into numbers, `noise` says whether to believe them, `energy` and `machine` what they were measured
with. `baseline` compares with earlier results, `phone_log` reads what a phone printed.
"""
