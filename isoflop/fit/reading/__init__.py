"""The chosen estimate read at budgets: those asked for, and those that the sweep itself predicted."""
