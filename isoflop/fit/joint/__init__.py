"""The joint skewed valley, its shrinkage towards the surface, and the mask of outliers: the recommended estimate."""
