"""A packaged network as a graph that other runtimes run: ONNX, torch.export, fewer bits, and a bundle for devices."""
