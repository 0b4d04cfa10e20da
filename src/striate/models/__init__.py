"""Networks, one file a paper; PyTorch and nothing else."""
