"""Engines dispatch jobs to processes and yield events; they never touch the store."""
