"""Ray: pilots as detached actors. Only `ray_driver`, a process of its own, imports ray."""
