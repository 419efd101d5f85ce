"""Rows in: what a fit reads, of sweeps in databases and of tables, one by one or pooled."""
