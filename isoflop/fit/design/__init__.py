"""Which runs to train next."""
