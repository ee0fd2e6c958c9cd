"""Questions to a SQLite database: its schema, the statements that may be put to it, their grammar, their rows."""
