"""Where records of trials are kept: in SQLite, PostgreSQL or memory."""
