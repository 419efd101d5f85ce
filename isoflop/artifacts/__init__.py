"""What lies in the folder of artifacts, what of it is wanted, and how the rest goes. No torch."""
