"""The network and its runtime: the only home of torch and segmentation-models-pytorch."""
