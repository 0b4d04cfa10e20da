"""Dashboards beside `history.csv`: mirrors of a run that may fail or hang without stopping or delaying it."""
