"""Dataset -> TrainedModel: the TensorFlow side of float training."""
