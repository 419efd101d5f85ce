"""IsoFLOP sweeps on your own hardware: for this budget, how big a model on how many tokens?"""

__version__ = "0.1.0"
