"""Workers on this machine: its devices, its processes, and the engine that joins them."""
