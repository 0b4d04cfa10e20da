"""Weights from elsewhere: loading, head replacement, freezing."""
