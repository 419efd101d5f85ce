"""What a reader should know before believing a fit, one module per subject."""
