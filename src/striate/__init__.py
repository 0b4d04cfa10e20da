"""Striate: train, transfer, evaluate and explain the family of convolutional networks."""

__version__ = "0.1.0"
