"""Which runs answer a sweep: grid, recipe, jobs, estimate. Pure functions."""
