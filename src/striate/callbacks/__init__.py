"""What watches over a run: checkpoints, history, divergence, loggers."""
