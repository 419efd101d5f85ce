"""Slurm: pilots as tasks of job arrays."""
