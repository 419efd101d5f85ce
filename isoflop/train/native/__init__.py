"""The optimizer step in C++ (`step.cc`): its libraries, compiled where isoflop was built, and which one to use."""
