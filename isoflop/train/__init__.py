"""Training one run: the only package that imports torch."""
