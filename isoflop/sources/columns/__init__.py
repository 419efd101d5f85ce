"""Which column of a table is which, in what unit, and what its cells mean: from a raw table to numbers of runs."""
