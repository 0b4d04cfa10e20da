"""Sweeps: many trials of one command (`-m`), each a process of its own, on a ledger that survives them.

A sweeper (`hydra_plugins/striate_sweepers.py`) makes a *plan*, a grid or an Optuna study, and starts *workers* through
Hydra's launchers. A worker takes the next trial of the plan, runs it and writes what came of it, until none is left. So
any number of workers, of one command or of several at once, share one sweep; what one of them leaves behind the next
takes over.
"""
