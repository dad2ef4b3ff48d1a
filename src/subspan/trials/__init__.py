"""Trials: identity, immutable records, the store that keeps them, the executor that runs them."""
