"""The additive surface L = E + A N^-alpha + B D^-beta: exact optima of robust losses, in milliseconds."""
