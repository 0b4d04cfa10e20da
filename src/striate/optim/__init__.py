"""Update rules, parameter groups, schedules and losses that PyTorch lacks."""
