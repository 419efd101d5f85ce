"""From an optimum to what can be done about it: shapes, costs, smaller models, repeated data."""
