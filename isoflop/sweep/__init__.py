"""A sweep as a program would use it: planned, extended, locked, trained."""
