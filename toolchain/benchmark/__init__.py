"""ExportedModel -> Measurement: latency, throughput, memory."""
