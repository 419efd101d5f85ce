"""What commands show: the parts that all of them share, and the plan and the run."""
