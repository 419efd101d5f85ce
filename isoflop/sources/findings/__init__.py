"""What is to be said of the rows before anybody fits them."""
