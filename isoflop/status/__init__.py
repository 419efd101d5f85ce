"""How a sweep stands, read beside whatever works on it: its database, its lock, its run directories."""
