"""Figures, tables and pictures from sums over a split."""
