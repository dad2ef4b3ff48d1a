"""What is supported: a table of modules, losses and data, each cell of which is a test."""
