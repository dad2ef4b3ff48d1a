"""Where trials run: in this process, in workers, or through any `submit` of futures."""
