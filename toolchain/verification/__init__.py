"""ExportedModel -> Verification: parity with the model it came from."""
