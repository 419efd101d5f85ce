"""Every estimator of the frontier, and the choice of the one to act on."""
