"""Runs exported files: LiteRT and onnxruntime, no TensorFlow."""
