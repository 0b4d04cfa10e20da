"""One file a script: run(cfg)."""
