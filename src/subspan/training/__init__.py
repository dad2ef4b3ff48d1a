"""Training: how a trial is trained, many at once."""
