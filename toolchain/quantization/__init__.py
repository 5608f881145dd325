"""TrainedModel -> QuantizedModel: folded weights after QAT and one range a tensor."""
