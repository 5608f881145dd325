"""Trained and quantized weights -> files that run elsewhere."""
