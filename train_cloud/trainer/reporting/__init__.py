"""What is told of a run: metrics, TensorBoard, Weights & Biases."""
