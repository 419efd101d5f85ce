"""What benchmarks/gpu.py measures, a module per part; each is a program of its own: `main(Setting)`."""
