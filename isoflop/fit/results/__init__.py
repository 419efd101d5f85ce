"""What a fit returns: frozen values, each number with its unit. Intervals are (low, high) or None."""
