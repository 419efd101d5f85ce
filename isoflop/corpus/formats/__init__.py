"""What finds documents in files, a module per format."""
